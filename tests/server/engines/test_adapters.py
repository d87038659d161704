"""Adapters by name, without a model: what is found, what is not, and whose name it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.scripted_engine import ScriptedEngine

from pennyweight.server.cache.key import request_key
from pennyweight.server.config import EngineSettings
from pennyweight.server.engines import adapters
from pennyweight.server.engines.adapters import AdaptedEngines, AdapterDirectory, AdapterEngine, ModelAdapters
from pennyweight.server.engines.features import ALL_FEATURES, refuse_unsupported
from pennyweight.server.engines.tensorrt_llm.launch import CAN_NOT
from pennyweight.server.engines.vllm.launch import engine_arguments
from pennyweight.server.errors import ConfigError, PennyweightError, UnsupportedParameter
from pennyweight.server.types import Request, SamplingParams, Started, TextPrompt


def add(root: Path, name: str) -> Path:
    path = root / name
    path.mkdir(parents=True)
    (path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 16}))
    (path / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    add(tmp_path / "root", "one")
    add(tmp_path, "outside")
    return tmp_path / "root"


def test_only_what_lies_in_the_directory_is_found(root: Path) -> None:
    add(root, ".hidden")
    add(root, "with space")
    (root / "empty").mkdir()
    (root / "file").write_text("")
    (root / "out").symlink_to(root.parent / "outside")
    (root / "alias").symlink_to(root / "one")
    directory = AdapterDirectory(root, max_rank=8)
    assert directory.names() == {"one", "alias"}
    for name in ("../outside", "..", "", "/", "one/../one", "one/", str(root / "one")):
        assert name not in directory


def test_a_new_one_is_found_a_second_later(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(adapters.time, "monotonic", lambda: now)
    directory = AdapterDirectory(root, max_rank=8)
    add(root, "two")
    now = 100.5
    assert "two" not in directory
    now = 101.0
    assert "two" in directory


def test_the_digest_changes_with_the_files(root: Path) -> None:
    directory = AdapterDirectory(root, max_rank=8)
    first = directory.describe("one")
    assert directory.describe("one") is first
    (root / "one" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 16}))
    assert directory.describe("one").digest != first.digest


def test_what_is_kept_of_an_adapter_s_answers_ends_with_its_files(root: Path) -> None:
    directory, engine = AdapterDirectory(root, max_rank=8), ScriptedEngine()
    request = Request(id="r", model="m:one", prompt=TextPrompt(text="Hi"), sampling=SamplingParams())
    adapted = AdapterEngine(engine, directory, "one")
    first = request_key(request, adapted.capabilities())
    assert first == request_key(request, adapted.capabilities())
    assert first != request_key(request, engine.capabilities())
    (root / "one" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 16}))
    assert first != request_key(request, adapted.capabilities())


def test_names_and_their_models(root: Path) -> None:
    engine = ScriptedEngine()
    given = ModelAdapters(directory=AdapterDirectory(root, max_rank=8), aliases={"nick": "one", "later": "two"})
    engines = AdaptedEngines({"m": engine, "m:v2": engine, "plain": engine}, dict.fromkeys(("m", "m:v2"), given))
    assert list(engines) == ["m", "m:v2", "plain"]
    assert engines.adapter_names() == ["m:one", "m:v2:one", "nick"]
    assert [engines.base_of(name) for name in ("m", "m:one", "m:v2", "m:v2:one", "nick", "m:gone")] == [
        "m",
        "m",
        "m:v2",
        "m:v2",
        "m",
        "m",
    ]
    assert engines["m:one"] is engines["nick"] is engines["m:one"]
    assert engines["m"] is engine
    for name in ("plain:one", "m:two", "later", "m:", ":one", "one"):
        assert engines.get(name) is None


def test_an_alias_must_be_free(root: Path) -> None:
    given = ModelAdapters(directory=AdapterDirectory(root, max_rank=8), aliases={"m": "one"})
    with pytest.raises(ConfigError, match="m is the name of something else"):
        AdaptedEngines({"m": ScriptedEngine()}, {"m": given})


def test_a_directory_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="which is no directory"):
        AdapterDirectory(tmp_path / "nowhere", max_rank=8)


def test_vllm_takes_adapters_only_where_there_are_some(root: Path) -> None:
    assert "enable_lora" not in engine_arguments(EngineSettings(), root)
    arguments = engine_arguments(EngineSettings(adapters_dir=str(root), max_loras=3, max_lora_rank=100), root)
    assert {name: arguments[name] for name in ("enable_lora", "max_loras", "max_lora_rank")} == {
        "enable_lora": True,
        "max_loras": 3,
        "max_lora_rank": 128,
    }


async def test_an_engine_that_has_no_adapters_refuses_them_by_the_model_s_name(root: Path) -> None:
    def refuse(request: Request) -> PennyweightError | None:
        features = ALL_FEATURES - CAN_NOT
        try:
            refuse_unsupported(request, replace(ScriptedEngine().capabilities(), features=features))
        except PennyweightError as error:
            return error
        return None

    given = ModelAdapters(directory=AdapterDirectory(root, max_rank=8), aliases={})
    engines = AdaptedEngines({"m": ScriptedEngine(refusal=refuse)}, {"m": given})
    request = Request(id="r", model="m:one", prompt=TextPrompt(text="Hi"), sampling=SamplingParams())
    assert isinstance(await anext(engines["m"].generate(request)), Started)
    with pytest.raises(UnsupportedParameter) as refused:
        await anext(engines["m:one"].generate(request))
    assert refused.value.param == "model"
