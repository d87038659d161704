"""The engine's process is killed or hangs under its requests: each gets one error, the server stays, the engine comes back."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from typing import Any

import psutil
import pytest
from fakes.server_process import MODEL, server_process
from fakes.stream_client import Outcome, read_stream, until_started

pytestmark = pytest.mark.slow

STREAMS = 20


@pytest.mark.timeout(900)
async def test_twenty_kills_under_twenty_streams_each() -> None:
    sizes: list[int] = []
    random.seed(7)
    async with server_process() as server:
        process = psutil.Process(server.pid)
        for kill in range(20):
            outcomes = [Outcome() for _ in range(STREAMS)]
            clients = [asyncio.create_task(read_stream(server, outcome)) for outcome in outcomes]
            if kill % 2:
                await until_started(outcomes)
            await asyncio.sleep(random.uniform(0.0, 0.3))
            victim = server.engine_pid()
            os.kill(victim, signal.SIGKILL)
            killed = time.monotonic()
            await asyncio.wait_for(asyncio.gather(*clients), 10)
            for outcome in outcomes:
                outcome.check(code="engine_dead")
                assert outcome.ended - killed < 2
            assert not await server.is_ready()
            async with server.client.get("/health") as answer:
                assert answer.status == 200
            await server.until_ready(10 - (time.monotonic() - killed))
            assert server.engine_pid() != victim
            assert await server.metric("engine_restarts_total") == kill + 1
            sizes.append(process.memory_info().rss)
        good = await read_stream(server, Outcome(), max_tokens=8)
        assert (good.is_done, good.errors) == (True, [])
        assert (process.pid, process.is_running(), server.process.returncode) == (server.pid, True, None)
        assert await server.metric("num_requests_running") == 0
    # What a restart needs once (buffers, threads' stacks) is there after the first few.
    assert max(sizes[10:]) - max(sizes[:5]) < 16 << 20, sizes


async def test_a_hung_engine_is_ended_and_its_clients_are_told() -> None:
    async with server_process(engine={"stall_seconds": 2.0}) as server:
        outcomes = [Outcome() for _ in range(STREAMS)]
        clients = [asyncio.create_task(read_stream(server, outcome)) for outcome in outcomes]
        await until_started(outcomes)
        victim = server.engine_pid()
        os.kill(victim, signal.SIGSTOP)
        stopped = time.monotonic()
        await asyncio.wait_for(asyncio.gather(*clients), 10)
        for outcome in outcomes:
            outcome.check(code="engine_dead")
            assert outcome.ended - stopped < 5
        assert not psutil.pid_exists(victim)
        await server.until_ready(10)
        assert await server.metric("engine_restarts_total") == 1
        assert (await read_stream(server, Outcome(), max_tokens=8)).is_done


@pytest.mark.parametrize(("kernels", "tokens"), [("auto", 2500), ("torch", 500)])
async def test_a_step_that_takes_long_is_not_a_hang(kernels: str, tokens: int) -> None:
    engine = {"stall_seconds": 1.5, "max_num_batched_tokens": 4096, "max_model_len": 4096}
    async with server_process(engine={**engine, "kernels": kernels}) as server:
        body = {"model": MODEL, "prompt": [[504] * tokens], "max_tokens": 1}
        began = time.monotonic()
        async with server.client.post("/v1/completions", json=body) as answer:
            assert answer.status == 200, await answer.text()
        took = time.monotonic() - began
        assert await server.metric("engine_restarts_total") == 0
    if took <= engine["stall_seconds"]:
        pytest.skip(f"the step took {took:.1f} s only: this machine is too fast for it to show anything")


async def test_while_the_engine_is_down_what_it_answered_before_is_given_though_its_time_is_over() -> None:
    sections: dict[str, Any] = {
        "models": {"small": {"local": {"kv_cache_memory": 256 << 20}}},
        "tiers": {"only": {"models": ["small"], "stale_if_error": 600}},
        "response_cache": {"max_bytes": 1 << 20, "ttl": 0.01},
    }
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "max_tokens": 8}
    async with server_process(**sections) as server:

        async def ask() -> tuple[str | None, str]:
            async with server.client.post("/v1/chat/completions", json=body) as answer:
                text = (await answer.json())["choices"][0]["message"]["content"]
                return answer.headers.get("x-pennyweight-cache"), text

        first = await ask()
        assert first[0] == "miss"
        os.kill(server.engine_pid(), signal.SIGKILL)
        await asyncio.sleep(0.02)
        assert await ask() == ("stale", first[1])
        await server.until_ready(30)
        assert await ask() == first
