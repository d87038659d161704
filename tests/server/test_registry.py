"""Aliases, and moving one from a version to the next while requests come."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.random_models import save_random_model
from fakes.scripted_engine import ScriptedEngine
from fakes.server_process import ServerProcess, server_process
from transformers import LlamaConfig, LlamaForCausalLM

from pennyweight.server.errors import ConfigError, InvalidRequest, ModelNotFound
from pennyweight.server.registry import Registry

RATE = 50.0
SECONDS = 8.0


def registry(**options: Any) -> tuple[Registry, dict[str, ScriptedEngine]]:
    engines = {"v1": ScriptedEngine(), "v2": ScriptedEngine()}
    return Registry(engines, {"chat": "v1"}, **options), engines


def test_an_alias_is_moved_and_moved_back() -> None:
    names, engines = registry()
    assert list(names) == ["v1", "v2", "chat"]
    assert names["chat"] is engines["v1"]
    assert names.promote("chat", "v2") == "v1"
    assert names["chat"] is engines["v2"]
    assert names.promote("chat", "v2") == "v2"
    assert names.roll_back("chat") == "v1"
    assert names["chat"] is names["v1"]
    with pytest.raises(InvalidRequest, match="has meant nothing but v1"):
        names.roll_back("chat")


def test_what_is_not_there_is_named() -> None:
    names, engines = registry()
    with pytest.raises(ModelNotFound, match="no model v3; there are v1, v2"):
        names.promote("chat", "v3")
    with pytest.raises(ModelNotFound, match="no alias v1; there are: chat"):
        names.promote("v1", "v2")
    with pytest.raises(ConfigError, match=r"aliases\.v2: a model is called so already"):
        Registry(engines, {"v2": "v1"})
    with pytest.raises(ConfigError, match=r"aliases\.chat: there is no model v3"):
        Registry(engines, {"chat": "v3"})


def test_a_promotion_is_kept_for_the_next_start(tmp_path: Path) -> None:
    file = tmp_path / "state" / "registry.json"
    names, engines = registry(state_file=file)
    names.promote("chat", "v2")
    again, engines = registry(state_file=file)
    assert again["chat"] is engines["v2"]
    assert again.roll_back("chat") == "v1"
    alone = Registry({"v3": engines["v1"]}, {"chat": "v3"}, state_file=file)
    assert alone["chat"] is engines["v1"]
    for nonsense in ("{", "[]", '{"chat": 3}'):
        file.write_text(nonsense)
        with pytest.raises(ConfigError, match="can't be read"):
            registry(state_file=file)


@pytest.fixture(scope="module")
def versions(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two tiny models that differ, with the default model's tokenizer."""
    found = {}
    for seed, name in enumerate(("v1", "v2")):
        path = tmp_path_factory.mktemp("versions") / name
        save_random_model(
            path,
            LlamaForCausalLM,
            LlamaConfig,
            default_model,
            seed=seed,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=512,
        )
        found[name] = path
    return found


async def ask(server: ServerProcess, model: str) -> tuple[int, str, str]:
    """Status, fingerprint and text of a streamed answer; the fingerprint must be the same in all its chunks."""
    body = {"model": model, "prompt": "Once", "max_tokens": 6, "temperature": 0, "ignore_eos": True}
    async with server.client.post("/v1/completions", json=body) as answer:
        found = await answer.json()
        if answer.status != 200:
            return answer.status, "", str(found)
        return answer.status, found["system_fingerprint"], found["choices"][0]["text"]


@pytest.mark.slow
async def test_a_promotion_under_load_fails_and_mixes_nothing(
    versions: dict[str, Path], report: Callable[[str], None]
) -> None:
    models = {name: {"local": {"model": str(path), "kv_cache_memory": 16 << 20}} for name, path in versions.items()}
    async with server_process(models=models, aliases={"chat": "v1"}, admin={"port": 0}) as server:
        expected = {await ask(server, name) for name in versions}
        assert len(expected) == 2
        assert {status for status, _, _ in expected} == {200}
        admin = server.lines("listening")[0]["admin"]
        asked: list[asyncio.Task[tuple[int, str, str]]] = []
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def operator() -> None:
            for command in (["promote", "chat", "v2"], ["rollback", "chat"], ["promote", "chat", "v2"]):
                await asyncio.sleep(SECONDS / 5)
                ran = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "pennyweight.server.cli", "models", *command, "--url", admin
                )
                assert await ran.wait() == 0

        operating = asyncio.create_task(operator())
        for place in range(int(RATE * SECONDS)):
            await asyncio.sleep(max(0.0, began + place / RATE - loop.time()))
            asked.append(asyncio.create_task(ask(server, "chat")))
        answers = await asyncio.gather(*asked)
        await operating
        assert set(answers) == expected
        assert await ask(server, "chat") == await ask(server, "v2")
        counts = [answers.count(one) for one in expected]
        report(
            f"three promotions under {RATE:.0f} requests/s: {len(answers)} answers, {counts} by version, none failed"
        )
