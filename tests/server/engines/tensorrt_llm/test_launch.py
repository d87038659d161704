"""What of our settings becomes an argument of TensorRT-LLM's, and what is refused before its process is started."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.tensorrt_llm.launch import engine_arguments, tensorrt_llm_launch
from pennyweight.server.errors import ConfigError, ModelError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 100, "max_position_embeddings": 256}))
    return tmp_path


def test_defaults_are_left_to_the_library(model: Path) -> None:
    assert engine_arguments(EngineSettings(), model) == {
        "model": str(model),
        "tokenizer": str(model),
        "max_seq_len": 256,
        "guided_decoding_backend": "llguidance",
        "enable_chunked_prefill": True,
        "enable_iter_perf_stats": True,
        "kv_cache_config": {"enable_block_reuse": True},
    }


def test_its_own_arguments_count_before_ours(model: Path) -> None:
    given = {"max_seq_len": 64, "max_batch_size": 3, "kv_cache_config": {"enable_block_reuse": False}}
    arguments = engine_arguments(EngineSettings(max_num_seqs=9, max_model_len=128, engine_args=given), model)
    assert (arguments["max_seq_len"], arguments["max_batch_size"]) == (64, 3)
    assert arguments["kv_cache_config"] == {"enable_block_reuse": False}


def test_eager_means_no_cuda_graphs(model: Path) -> None:
    assert engine_arguments(EngineSettings(enforce_eager=True), model)["cuda_graph_config"] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine_args": {"model": "other"}}, "can't hold model"),
        ({"engine_args": {"guided_decoding_backend": "xgrammar"}}, "can't hold guided_decoding_backend"),
        ({"engine_args": {"kv_cache_config": "fp8"}}, "kv_cache_config is a mapping"),
        ({"dtype": "int8"}, "dtype int8"),
        ({"kernels": "torch"}, "kernels torch is the native engine's"),
        ({"device": "cuda:1"}, "CUDA_VISIBLE_DEVICES"),
        ({"threads": 2}, "engine.threads"),
        ({"python": "/nowhere/python"}, "no program"),
    ],
)
def test_settings_that_it_has_no_use_for(model: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tensorrt_llm_launch(EngineSettings(**settings), model)


def test_models_that_it_cannot_take(model: Path) -> None:
    with pytest.raises(ModelError, match=r"does not read toy\.gguf"):
        tensorrt_llm_launch(EngineSettings(python=sys.executable), model / "toy.gguf")
    (model / "config.json").write_text('{"text_config": {"vocab_size": 100}}')
    with pytest.raises(ModelError, match=r"max_position_embeddings; say engine\.max_model_len"):
        tensorrt_llm_launch(EngineSettings(python=sys.executable), model)
    launch = tensorrt_llm_launch(EngineSettings(python=sys.executable, max_model_len=32), model)
    assert launch.arguments["vocab_size"] == 100


def test_it_tells_nobody_what_it_is_used_for(model: Path) -> None:
    environment = tensorrt_llm_launch(EngineSettings(python=sys.executable), model).environment
    assert (environment["TRTLLM_NO_USAGE_STATS"], environment["DO_NOT_TRACK"]) == ("1", "1")
