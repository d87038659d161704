"""How the server ends: in order at the first signal, at once at the second, and never leaving a process behind."""

from __future__ import annotations

import asyncio
import signal
import time

import aiohttp
import psutil
import pytest
from fakes.server_process import MODEL, ServerProcess, server_process
from fakes.stream_client import Outcome, read_stream, until_started

pytestmark = pytest.mark.slow

CONSTRAINED = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Yes or no?"}],
    "structured_outputs": {"choice": ["yes", "no"]},
    "max_tokens": 4,
}


async def until_gone(pids: list[int], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while any(psutil.pid_exists(pid) for pid in pids):  # noqa: ASYNC110 (another process's end has no event)
            await asyncio.sleep(0.02)


async def begin(
    server: ServerProcess, count: int, max_tokens: int
) -> tuple[list[Outcome], asyncio.Future[list[Outcome]]]:
    """Streams that have begun, and their ends."""
    outcomes = [Outcome() for _ in range(count)]
    ends = asyncio.gather(*(read_stream(server, outcome, max_tokens=max_tokens) for outcome in outcomes))
    await until_started(outcomes)
    return outcomes, ends


async def test_what_runs_may_end_within_the_grace_period_and_nothing_new_begins() -> None:
    async with server_process(http={"grace_period": 60.0}) as server:
        pids = server.children()
        outcomes, ends = await begin(server, 4, 300)
        kept = aiohttp.ClientSession(server.url)
        async with kept, kept.get("/health") as answer:
            assert answer.status == 200
            server.signal(signal.SIGTERM)
            await server.until_logged("draining")
            with pytest.raises(aiohttp.ClientConnectorError):
                async with aiohttp.ClientSession(server.url) as late, late.get("/health"):
                    pass
        await ends
        assert all((outcome.is_done, outcome.errors) == (True, []) for outcome in outcomes)
        assert await server.ended(10) == 0
        await until_gone(pids)


async def test_what_still_runs_after_the_grace_period_ends_with_an_error() -> None:
    async with server_process(http={"grace_period": 1.0}) as server:
        pids = server.children()
        outcomes, ends = await begin(server, 4, 1500)
        server.signal(signal.SIGTERM)
        signalled = time.monotonic()
        await ends
        for outcome in outcomes:
            outcome.check(code="shutting_down")
            assert 1.0 <= outcome.ended - signalled < 3.0
        assert await server.ended(10) == 0
        await until_gone(pids)


async def test_a_second_signal_ends_it_at_once() -> None:
    async with server_process(http={"grace_period": 60.0}) as server:
        pids = server.children()
        outcomes, ends = await begin(server, 4, 1500)
        server.signal(signal.SIGTERM)
        await server.until_logged("draining")
        server.signal(signal.SIGTERM)
        signalled = time.monotonic()
        assert await server.ended(5) == 128 + signal.SIGTERM
        assert time.monotonic() - signalled < 3
        await asyncio.gather(ends, return_exceptions=True)
        assert not any(outcome.is_done for outcome in outcomes)
        await until_gone(pids)


async def test_a_signal_while_the_model_is_loaded_ends_it_in_order() -> None:
    async with server_process(ready=False) as server:
        pids = server.children()
        server.signal(signal.SIGTERM)
        assert await server.ended(10) == 0
        await until_gone(pids)


async def test_a_server_that_is_killed_takes_its_processes_with_it() -> None:
    async with server_process() as server:
        async with server.client.post("/v1/chat/completions", json=CONSTRAINED) as answer:
            assert answer.status == 200, "a constraint starts the helper that compiles them"
        pids = server.children()
        assert len(pids) == 2
        _, ends = await begin(server, 4, 1500)
        server.signal(signal.SIGKILL)
        assert await server.ended(5) == -signal.SIGKILL
        await asyncio.gather(ends, return_exceptions=True)
        await until_gone(pids)
