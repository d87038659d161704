"""What vLLM is started with, as far as that can be seen without it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.vllm.launch import cpu_list, engine_arguments, vllm_launch
from pennyweight.server.errors import ConfigError, ModelError

HERE = Path("/models/some")


def arguments(**settings: Any) -> dict[str, Any]:
    return engine_arguments(EngineSettings(kind="vllm", **settings), HERE)


def test_settings_left_alone_are_left_to_vllm() -> None:
    assert arguments() == {
        "model": str(HERE),
        "tokenizer": str(HERE),
        "scheduling_policy": "priority",
        "structured_outputs_config": {"backend": "guidance"},
        "disable_log_stats": True,
        "generation_config": "vllm",
    }


def test_settings_of_the_same_name_are_passed_and_engine_args_count_before_them() -> None:
    found = arguments(
        max_model_len=2048, max_num_seqs=8, kv_cache_memory=1 << 30, engine_args={"max_num_seqs": 16, "seed": 3}
    )
    assert (found["max_model_len"], found["max_num_seqs"], found["seed"]) == (2048, 16, 3)
    assert found["kv_cache_memory_bytes"] == 1 << 30


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "int8"}, "engine.dtype int8 is the native engine's"),
        ({"kernels": "torch"}, "engine.kernels torch is the native engine's"),
        ({"device": "cuda:1"}, "engine.device is the native engine's"),
        ({"engine_args": {"tokenizer": "x"}}, "engine.engine_args can't hold tokenizer"),
    ],
)
def test_what_contradicts_the_server_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        arguments(**settings)


def test_a_gguf_file_is_for_the_native_engine() -> None:
    with pytest.raises(ModelError, match=r"does not read some\.gguf"):
        vllm_launch(EngineSettings(kind="vllm", python=sys.executable), Path("some.gguf"))


def test_a_python_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"engine\.python is '/nowhere/python'"):
        vllm_launch(EngineSettings(kind="vllm", python="/nowhere/python"), HERE)


def test_usage_statistics_are_always_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_NO_USAGE_STATS", "0")
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "3")
    environment = vllm_launch(EngineSettings(kind="vllm", python=sys.executable), HERE).environment
    assert environment["VLLM_NO_USAGE_STATS"] == environment["DO_NOT_TRACK"] == "1"
    assert "VLLM_CPU_OMP_THREADS_BIND" not in environment


def test_cores_are_listed_as_ranges() -> None:
    assert cpu_list([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"
    assert cpu_list([3]) == "3"


def test_nothing_is_compiled_under_a_path_with_a_space(tmp_path: Path) -> None:
    def environment(directory: str) -> Mapping[str, str]:
        python = tmp_path / directory / "python"
        python.parent.mkdir()
        python.symlink_to(sys.executable)
        return vllm_launch(EngineSettings(kind="vllm", python=str(python)), HERE).environment

    assert environment("a place")["TORCHDYNAMO_DISABLE"] == "1"
    assert "TORCHDYNAMO_DISABLE" not in environment("place")
