from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from pennyweight.server.engines.native.model_config import (
    FrequencyFactors,
    Llama3Scaling,
    Rope,
    load_model_config,
    parse_model_config,
    rope_tables,
)
from pennyweight.server.errors import ModelError

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
}
LLAMA_31_SCALING = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 1024,
}


def parse(**changes: Any) -> Any:
    return parse_model_config(LLAMA | changes, "model")


@pytest.mark.parametrize(
    "theirs",
    [
        LlamaConfig(num_key_value_heads=8, attention_bias=True, mlp_bias=True),
        LlamaConfig(rope_parameters=LLAMA_31_SCALING | {"rope_type": "llama3", "rope_theta": 500000.0}),
        MistralConfig(sliding_window=None, head_dim=160),
        Qwen2Config(tie_word_embeddings=True),
        Qwen3Config(head_dim=64, hidden_size=1024, dtype="bfloat16"),
    ],
    ids=["llama-biases", "llama-3", "mistral", "qwen2", "qwen3"],
)
def test_configurations_that_transformers_saves_are_read(theirs: Any, tmp_path: Path) -> None:
    theirs.save_pretrained(tmp_path)
    ours = load_model_config(tmp_path)
    assert ours.family == theirs.model_type
    assert (ours.hidden_size, ours.intermediate_size) == (theirs.hidden_size, theirs.intermediate_size)
    assert (ours.num_heads, ours.num_kv_heads) == (theirs.num_attention_heads, theirs.num_key_value_heads)
    assert ours.head_dim == getattr(theirs, "head_dim", theirs.hidden_size // theirs.num_attention_heads)
    assert ours.tie_word_embeddings == theirs.tie_word_embeddings
    assert (ours.attention_bias, ours.mlp_bias) == (
        bool(getattr(theirs, "attention_bias", False)),
        getattr(theirs, "mlp_bias", False),
    )
    assert ours.rope.theta == theirs.rope_parameters["rope_theta"]
    assert (ours.rope.scaling is not None) == (theirs.rope_parameters["rope_type"] == "llama3")
    assert ours.torch_dtype == str(theirs.dtype or "float32").removeprefix("torch.")


def test_both_spellings_of_rope_scaling_give_the_same() -> None:
    old = parse(rope_theta=500000.0, rope_scaling=LLAMA_31_SCALING | {"rope_type": "llama3"})
    older = parse(rope_theta=500000.0, rope_scaling=LLAMA_31_SCALING | {"type": "llama3"})
    new = parse(rope_parameters=LLAMA_31_SCALING | {"rope_type": "llama3", "rope_theta": 500000.0})
    assert old == older == new
    assert new.rope == Rope(500000.0, Llama3Scaling(8.0, 1.0, 4.0, 1024))


def test_what_a_configuration_may_leave_out_has_the_defaults_of_its_family() -> None:
    llama = parse(num_key_value_heads=None)
    assert (llama.num_kv_heads, llama.head_dim, llama.rope) == (4, 16, Rope(10000.0))
    assert (llama.tie_word_embeddings, llama.attention_bias, llama.mlp_bias) == (False, False, False)
    assert parse(architectures=["Qwen3ForCausalLM"]).head_dim == 128
    assert parse(architectures=None).family == "llama"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"architectures": ["MixtralForCausalLM"]}, "MixtralForCausalLM"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "'yarn'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "'linear'"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4}}, "'dynamic'"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "differ by layer"),
        ({"partial_rotary_factor": 0.5}, "a part of each head"),
        ({"num_local_experts": 8}, "mixture of experts"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 4096}, "sliding-window"),
        ({"architectures": ["Qwen2ForCausalLM"], "layer_types": ["sliding_attention"], "sliding_window": 1}, "sliding"),
        ({"architectures": ["Qwen3ForCausalLM"], "attention_bias": True}, "attention_bias"),
    ],
)
def test_what_is_not_done_is_refused_by_name_with_the_engines_that_may_take_it(
    changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ModelError, match=r"vllm and tensorrt_llm") as refusal:
        parse(**changes)
    assert named in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"hidden_size": "64"}, "hidden_size = '64'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0"),
        ({"vocab_size": 1.5}, "vocab_size = 1.5"),
        ({"num_key_value_heads": 3}, "4 heads over 3"),
        ({"rope_scaling": "llama3"}, "rope parameters"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "lacks low_freq_factor"),
        ({"rope_scaling": LLAMA_31_SCALING | {"rope_type": "llama3", "high_freq_factor": 1.0}}, "low_freq_factor"),
        ({"rope_scaling": {"rope_type": "llama3", "frequency_factors": [1.0]}}, "1 rope factors"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError) as refusal:
        parse(**changes)
    assert named in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "window"),
    [
        ({"architectures": ["MistralForCausalLM"], "sliding_window": None}, None),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 8192}, 8192),
        ({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 1024, "use_sliding_window": False}, None),
        (
            {
                "architectures": ["Qwen2ForCausalLM"],
                "sliding_window": 1024,
                "use_sliding_window": True,
                "max_window_layers": 2,
            },
            None,
        ),
    ],
)
def test_windows_that_cut_nothing_off_are_taken(changes: dict[str, Any], window: int | None) -> None:
    assert parse(**changes).sliding_window == window


@pytest.mark.parametrize("content", ["", "[]", "{", None])
def test_a_directory_without_a_readable_configuration_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        load_model_config(tmp_path)


@pytest.mark.parametrize("scaling", [None, LLAMA_31_SCALING])
@pytest.mark.parametrize("theta", [10000.0, 500000.0])
def test_rotations_are_those_of_transformers(scaling: dict[str, Any] | None, theta: float) -> None:
    parameters = (scaling or {}) | {"rope_type": "llama3" if scaling else "default", "rope_theta": theta}
    raw = LLAMA | {"rope_parameters": parameters, "head_dim": 128}
    theirs = LlamaRotaryEmbedding(LlamaConfig(**raw))
    length = 8192
    cos, sin = rope_tables(parse_model_config(raw, "model"), length)
    assert cos.dtype == sin.dtype == torch.float32
    assert cos.shape == sin.shape == (length, 64)
    # Theirs multiplies float32 frequencies with positions; with the same frequencies in float64 nothing is left between.
    angles = torch.arange(length, dtype=torch.float64)[:, None] * theirs.inv_freq.double()
    slack = angles * 3e-7 + 1e-7  # the frequencies' own rounding
    assert ((cos - angles.cos()).abs() <= slack).all()
    assert ((sin - angles.sin()).abs() <= slack).all()
    near_cos, near_sin = theirs(torch.zeros(1), torch.arange(64)[None])
    torch.testing.assert_close(cos[:64], near_cos[0, :, :64], atol=2e-5, rtol=0)
    torch.testing.assert_close(sin[:64], near_sin[0, :, :64], atol=2e-5, rtol=0)


def test_worked_out_factors_give_the_rotations_of_the_scaling_they_came_from() -> None:
    plain = parse(head_dim=64, rope_theta=500000.0)
    scaled = parse(head_dim=64, rope_parameters=LLAMA_31_SCALING | {"rope_type": "llama3"} | {"rope_theta": 500000.0})
    inverse = LlamaRotaryEmbedding(
        LlamaConfig(**LLAMA, head_dim=64, rope_parameters={"rope_type": "default", "rope_theta": 500000.0})
    ).inv_freq
    stretched = LlamaRotaryEmbedding(
        LlamaConfig(
            **LLAMA, head_dim=64, rope_parameters=LLAMA_31_SCALING | {"rope_type": "llama3"} | {"rope_theta": 500000.0}
        )
    ).inv_freq
    factors = FrequencyFactors(tuple((inverse / stretched).tolist()))
    worked_out = dataclasses.replace(plain, rope=dataclasses.replace(plain.rope, scaling=factors))
    for ours, expected in zip(rope_tables(worked_out, 256), rope_tables(scaled, 256), strict=True):
        torch.testing.assert_close(ours, expected, atol=2e-4, rtol=0)


def test_the_default_model_is_read(default_model: Path) -> None:
    config = load_model_config(default_model)
    assert (config.family, config.num_layers, config.hidden_size, config.intermediate_size) == ("llama", 30, 576, 1536)
    assert (config.num_heads, config.num_kv_heads, config.head_dim, config.vocab_size) == (9, 3, 64, 49152)
    assert (config.rope, config.rms_norm_eps) == (Rope(100000.0), 1e-5)
    assert config.tie_word_embeddings
    assert json.loads((default_model / "generation_config.json").read_text())["eos_token_id"][0] == 2
