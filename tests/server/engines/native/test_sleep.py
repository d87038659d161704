"""The default model asleep: what it keeps, that it wakes as it was, and what happens when its process ends meanwhile."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.base import HealthState
from pennyweight.server.engines.local.client import LocalEngine
from pennyweight.server.engines.native.launch import native_launch
from pennyweight.server.errors import ModelError
from pennyweight.server.types import Delta, Request, SamplingParams, TextPrompt

MIB = 1 << 20
KV_CACHE = 64 * MIB

pytestmark = pytest.mark.slow


@pytest.fixture
async def engine(default_model: Path) -> AsyncIterator[LocalEngine]:
    settings = EngineSettings(kv_cache_memory=KV_CACHE)
    opened = LocalEngine(settings, default_model, "m", native_launch(settings, default_model))
    yield opened
    await opened.aclose()


async def answer(engine: LocalEngine) -> str:
    request = Request(
        id=os.urandom(4).hex(),
        model="m",
        prompt=TextPrompt(text="The capital of France is"),
        sampling=SamplingParams(temperature=0, max_tokens=8),
    )
    async with aclosing(engine.generate(request)) as events:
        return "".join([event.text async for event in events if isinstance(event, Delta)])


async def test_it_takes_less_asleep_and_wakes_with_the_same_answers(
    engine: LocalEngine, report: Callable[[str], None]
) -> None:
    assert engine.sleep_levels() == frozenset()
    began = time.monotonic()
    await engine.load()
    seconds, fingerprint = {"load": time.monotonic() - began}, engine.capabilities().fingerprint
    expected, loaded = await answer(engine), engine.resident_bytes()
    asleep = {}
    for level in sorted(engine.sleep_levels()):
        await engine.sleep(level)
        assert engine.health().state is HealthState.SLEEPING
        asleep[level] = engine.resident_bytes()
        began = time.monotonic()
        await engine.load()
        seconds[f"wake from {level}"] = time.monotonic() - began
        assert engine.health().state is HealthState.READY
        assert await answer(engine) == expected
        assert engine.capabilities().fingerprint == fingerprint
    report(
        f"asleep: {', '.join(f'{size / MIB:.0f} MiB at level {level}' for level, size in asleep.items())}, loaded "
        f"{loaded / MIB:.0f} MiB; {', '.join(f'{name} {value:.1f} s' for name, value in seconds.items())}"
    )
    assert asleep[2] < asleep[1] < loaded


async def test_one_whose_process_ends_while_it_sleeps_is_loaded_anew(engine: LocalEngine) -> None:
    await engine.load()
    await engine.sleep(2)
    pid = engine._supervisor.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ModelError, match="SIGKILL"):
        await engine.load()
    await engine.load()
    assert await answer(engine)
