"""An upstream engine with times for tests, and requests for it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pennyweight.server.config import UpstreamSettings
from pennyweight.server.engines.base import Engine
from pennyweight.server.engines.upstream.client import UpstreamEngine
from pennyweight.server.types import ChatPrompt, Delta, Event, Finished, Message, Request, SamplingParams, Started

_ids = itertools.count()

QUICK: dict[str, Any] = {
    "first_token_timeout": 1.0,
    "token_timeout": 1.0,
    "connect_timeout": 1.0,
    "failures_to_open": 1_000_000,
}


@asynccontextmanager
async def upstream_engine(base_url: str, **settings: Any) -> AsyncIterator[UpstreamEngine]:
    """A started engine."""
    engine = UpstreamEngine(UpstreamSettings(base_url=base_url, **(QUICK | settings)), "served")
    await engine.start()
    try:
        yield engine
    finally:
        await engine.aclose()


def chat(model: str = "good", text: str | None = None, **sampling: Any) -> Request:
    """A chat; the model's name is the fault server's mode, and its text its own."""
    number = next(_ids)
    message = Message(role="user", content=f"Hi {number}" if text is None else text)
    return Request(
        id=f"r{number}", model=model, prompt=ChatPrompt(messages=(message,)), sampling=SamplingParams(**sampling)
    )


async def answered(engine: Engine, request: Request) -> list[Event]:
    """All events, checked for their order."""
    events = [event async for event in engine.generate(request)]
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert all(isinstance(event, Delta) for event in events[1:-1])
    return events


def joined(events: list[Event], index: int = 0) -> str:
    """The text of a choice."""
    return "".join(event.text for event in events if isinstance(event, Delta) and event.index == index)
