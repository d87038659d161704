"""Two models, of two architectures, within a memory budget that holds one: the real server, and memory as it is measured."""

from __future__ import annotations

import asyncio
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import psutil
import pytest
from fakes.random_models import save_random_model
from fakes.server_process import MODEL, ServerProcess, server_process
from transformers import Qwen2Config, Qwen2ForCausalLM

from pennyweight.server.engines.local.memory import process_tree_bytes

REQUESTS = 200
AT_ONCE = 16
MIN_RESIDENCE = 2.0
MIB = 1 << 20


@pytest.fixture(scope="module")
def qwen(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2 of the default model's size with random weights and the default model's tokenizer."""
    path = tmp_path_factory.mktemp("models") / "qwen2-random"
    save_random_model(
        path,
        Qwen2ForCausalLM,
        Qwen2Config,
        default_model,
        seed=0,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=24,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
    )
    return path


async def ask(server: ServerProcess, model: str) -> tuple[int, str]:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0}
    async with server.client.post("/v1/chat/completions", json=body) as answer:
        found = await answer.json()
        return answer.status, found["choices"][0]["message"]["content"] if answer.status == 200 else str(found)


async def states(server: ServerProcess) -> dict[str, str]:
    async with server.client.get("/v1/models") as answer:
        return {one["id"]: one["state"] for one in (await answer.json())["data"]}


def below(server: ServerProcess) -> int:
    """Bytes of everything that the server has started."""
    return sum(process_tree_bytes(child.pid) for child in psutil.Process(server.pid).children())


@pytest.mark.slow
async def test_two_models_within_a_budget_for_one(qwen: Path, report: Callable[[str], None]) -> None:
    async with server_process(engine={"kv_cache_memory": 64 * MIB}) as alone:
        await ask(alone, MODEL)
        size = below(alone)
    budget = int(1.5 * size)
    models = {
        "smol": {"local": {"model": MODEL, "kv_cache_memory": 64 * MIB}},
        "qwen": {"local": {"model": str(qwen), "kv_cache_memory": 64 * MIB}},
    }
    residency = {"memory_budget": budget, "min_residence": MIN_RESIDENCE, "idle_timeout": 3.0}
    async with server_process(models=models, residency=residency) as server:
        assert await states(server) == {"smol": "unloaded", "qwen": "unloaded"}
        assert await server.is_ready()
        baseline = below(server)
        expected = {name: await ask(server, name) for name in models}
        assert {status for status, _ in expected.values()} == {200}
        generator, limit = random.Random(0), asyncio.Semaphore(AT_ONCE)
        peak, is_over = 0, False

        async def watch() -> None:
            nonlocal peak
            while not is_over:
                peak = max(peak, await asyncio.to_thread(below, server))
                await asyncio.sleep(0.05)

        async def one() -> None:
            async with limit:
                name = generator.choice(list(models))
                assert await ask(server, name) == expected[name]
                await asyncio.sleep(generator.uniform(0, 0.5))

        watching, began = asyncio.create_task(watch()), time.monotonic()
        await asyncio.gather(*(one() for _ in range(REQUESTS)))
        seconds = time.monotonic() - began
        is_over = True
        await watching
        loads = server.lines("model loaded")
        stays = [line["seconds"] for line in server.lines("model dropped")]
        assert peak <= budget + baseline
        assert min(stays) >= MIN_RESIDENCE
        swapped = [line["seconds"] for line in loads if line["kind"] == "swapped"]
        report(
            f"two models, {REQUESTS} requests at random in {seconds:.0f} s: {len(swapped)} swaps, wake-up p50"
            f" {statistics.median(swapped):.2f} s; peak {peak / MIB:.0f} MiB of a budget of {budget / MIB:.0f}"
        )
        assert await server.metric("model_load_seconds_count", kind="swapped") == len(swapped)
        assert await server.metric("model_load_seconds_sum", kind="swapped") == pytest.approx(sum(swapped), abs=0.1)
        async with asyncio.timeout(20):
            while set((await states(server)).values()) != {"unloaded"}:  # noqa: ASYNC110 (a state of another process)
                await asyncio.sleep(0.1)
        assert below(server) <= baseline + 16 * MIB


@pytest.mark.slow
async def test_a_model_that_cant_be_loaded_takes_no_other_down(qwen: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(qwen, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    models = {
        "good": {"local": {"model": MODEL, "kv_cache_memory": 64 * MIB}},
        "bad": {"local": {"model": str(broken), "kv_cache_memory": 64 * MIB}},
    }
    async with server_process(models=models) as server:
        assert (await ask(server, "good"))[0] == 200
        status, answer = await ask(server, "bad")
        assert status == 503
        assert "The model bad could not be loaded" in answer
        assert "download it again" in answer
        assert await states(server) == {"good": "ready", "bad": "failed"}
        async with server.client.get("/ready") as ready:
            assert ready.status == 503
            assert "download it again" in (await ready.json())["models"]["bad"]["detail"]


@pytest.mark.slow
async def test_an_operator_puts_a_model_to_sleep_and_the_next_request_wakes_it() -> None:
    models = {"smol": {"local": {"model": MODEL, "kv_cache_memory": 64 * MIB}}}
    async with server_process(models=models, admin={"port": 0}) as server:
        admin = server.lines("listening")[0]["admin"]

        async def operate(*command: str) -> str:
            ran = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "pennyweight.server.cli", "models", *command, "--url", admin),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            return (await ran.communicate())[0].decode().strip()

        expected = await ask(server, "smol")
        loaded = below(server)
        async with aiohttp.ClientSession() as operator:
            for body in ({"level": [1]}, {"level": True}, {}, [1]):
                async with operator.post(f"{admin}/models/smol/sleep", json=body) as answer:
                    assert answer.status == 400
                    assert (await answer.json())["error"]["param"] == "level"
        assert await operate("sleep", "smol", "--level", "2") == "smol is sleeping"
        assert "sleeping" in await operate("list")
        assert await states(server) == {"smol": "sleeping"}
        assert await server.is_ready()
        assert below(server) < loaded
        assert await ask(server, "smol") == expected
        assert await server.metric("model_load_seconds_count", kind="warm") == 1
        assert "There is no model other" in await operate("sleep", "other")
        assert await operate("unload", "smol") == "smol is unloaded"
