"""The server's engine with TensorRT-LLM's worker behind it, over the fake of the library; and whole answers from it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.client import LocalEngine
from pennyweight.server.engines.tensorrt_llm.launch import tensorrt_llm_launch
from pennyweight.server.types import Delta, Finished, Request, SamplingParams, Started, TextPrompt, Usage

# The folder to put on PYTHONPATH.
FAKE = Path(__file__).parent / "tensorrt_llm_fake"
_numbers = itertools.count()


@asynccontextmanager
async def tensorrt_llm_engine(
    path: Path, *, environment: Mapping[str, str] | None = None, **engine: Any
) -> AsyncIterator[LocalEngine]:
    """A started engine for the model at ``path``. ``engine`` are its settings; ``environment`` is the worker's."""
    settings = EngineSettings(kind="tensorrt_llm", python=sys.executable, model=str(path), **engine)
    launch = tensorrt_llm_launch(settings, path)
    launch = dataclasses.replace(
        launch, environment={**launch.environment, "PYTHONPATH": str(FAKE), **(environment or {})}
    )
    local = LocalEngine(settings, path, "toy", launch)
    try:
        await local.start()
        yield local
    finally:
        await local.aclose()


@dataclass
class Answered:
    """One whole answer: what came for each choice, and how often something came."""

    started: Started | None = None
    usage: Usage | None = None
    deltas: list[Delta] = field(default_factory=list)

    def of(self, index: int = 0) -> list[Delta]:
        return [delta for delta in self.deltas if delta.index == index]

    def text(self, index: int = 0) -> str:
        return "".join(delta.text for delta in self.of(index))

    def token_ids(self, index: int = 0) -> list[int]:
        return [token_id for delta in self.of(index) for token_id in delta.token_ids]


def make_request(text: str, *, priority: int = 0, **sampling: Any) -> Request:
    """A completion of a text; greedy, at most 16 tokens."""
    params = SamplingParams(**{"temperature": 0.0, "max_tokens": 16} | sampling)
    return Request(
        id=f"request-{next(_numbers)}", model="toy", prompt=TextPrompt(text=text), sampling=params, priority=priority
    )


async def answer(engine: LocalEngine, text: str, **sampling: Any) -> Answered:
    """The whole answer to a prompt."""
    answered = Answered()
    async for event in engine.generate(make_request(text, **sampling)):
        match event:
            case Started():
                answered.started = event
            case Delta():
                answered.deltas.append(event)
            case Finished(usage=usage):
                answered.usage = usage
    return answered


def calls(log: Path, name: str) -> list[dict[str, Any]]:
    """What the fake was called with, by the name of what was called."""
    return [call for line in log.read_text().splitlines() if (call := json.loads(line))["call"] == name]
