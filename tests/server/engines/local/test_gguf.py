from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from fakes.tiny_gguf import converted_name, random_blocks, save_gguf, sizes, write_gguf
from gguf import GGMLQuantizationType
from transformers import (
    AutoModelForCausalLM,
    GgufConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pennyweight.server.engines.local.gguf import GGUFModel, config_of, gguf_config, tokenizer_config_of
from pennyweight.server.engines.local.gguf_convert import to_bfloat16
from pennyweight.server.engines.local.gguf_file import GGUFFile
from pennyweight.server.engines.native.model_config import FrequencyFactors, load_model_config
from pennyweight.server.errors import ModelError

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "max_position_embeddings": 256,
    "rope_parameters": {"rope_type": "default", "rope_theta": 75000.0},
    "rms_norm_eps": 1e-5,
}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "llama-tied": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "llama-biases": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, head_dim=32, sliding_window=None)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=32)),
}


def tiny_model(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model = MODELS[kind]()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("kind", MODELS)
def test_every_family_comes_back_as_it_was_converted(kind: str, tmp_path: Path) -> None:
    model = tiny_model(kind)
    path = tmp_path / "model.gguf"
    save_gguf(path, model)
    opened = GGUFModel(GGUFFile(path))
    expected = model.state_dict()
    if model.config.tie_word_embeddings:
        del expected["lm_head.weight"]
    assert set(opened.names) == set(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(opened.load(name), tensor.numpy(), err_msg=name)
        assert opened.shape(name) == tensor.shape
    config = load_model_config(path)
    model.config.save_pretrained(tmp_path)
    family = "llama" if kind == "mistral" else config.family  # a GGUF file doesn't tell the two apart
    assert config.family == family
    theirs = load_model_config(tmp_path)
    for field in ("hidden_size", "num_layers", "num_heads", "num_kv_heads", "head_dim", "vocab_size", "rope"):
        assert getattr(config, field) == getattr(theirs, field)
    for field in ("rms_norm_eps", "tie_word_embeddings", "attention_bias", "mlp_bias", "max_position_embeddings"):
        assert getattr(config, field) == getattr(theirs, field)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K"])
def test_quantised_blocks_are_read_as_transformers_reads_them(name: str, tmp_path: Path) -> None:
    oracle = pytest.importorskip("transformers.integrations.gguf.dequant", reason="an older transformers")
    quant_type = GGMLQuantizationType[name]
    raw = random_blocks(quant_type, (6, 512), np.random.default_rng(0))
    path = tmp_path / "model.gguf"
    write_gguf(path, "llama", {}, {"token_embd.weight": raw}, {"token_embd.weight": quant_type})
    values = GGUFFile(path).dequantize("token_embd.weight")
    _, block_bytes = gguf.GGML_QUANT_SIZES[quant_type]
    expected = oracle.dequantize(torch.from_numpy(raw.reshape(-1, block_bytes)), quant_type.value)
    assert values.shape == (6, 512)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected.reshape(6, 512).numpy(), rtol=1e-6, atol=1e-6)


def test_q4_k_blocks_are_read_as_the_format_defines_them(tmp_path: Path) -> None:
    """One block by hand: 256 values of 8 groups, each (scale * q - minimum) with 6-bit scales and minima."""
    quant_type = GGMLQuantizationType.Q4_K
    raw = random_blocks(quant_type, (1, 256), np.random.default_rng(1))
    path = tmp_path / "model.gguf"
    write_gguf(path, "llama", {}, {"token_embd.weight": raw}, {"token_embd.weight": quant_type})
    block = raw[0].tobytes()
    scale, minimum = struct.unpack_from("<ee", block)
    packed, nibbles = block[4:16], block[16:]
    expected = []
    for group in range(8):
        if group < 4:
            group_scale, group_minimum = packed[group] & 63, packed[group + 4] & 63
        else:
            group_scale = (packed[group + 4] & 15) | (packed[group - 4] >> 6 << 4)
            group_minimum = (packed[group + 4] >> 4) | (packed[group] >> 6 << 4)
        for place in range(32):
            quantum = nibbles[group // 2 * 32 + place] >> (4 * (group % 2)) & 15
            expected.append(scale * group_scale * quantum - minimum * group_minimum)
    np.testing.assert_allclose(GGUFFile(path).dequantize("token_embd.weight")[0], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_unquantised_types_are_read_exactly(name: str, tmp_path: Path) -> None:
    quant_type = GGMLQuantizationType[name]
    values = np.random.default_rng(0).integers(-128, 128, (4, 64)).astype(np.float32)  # exact in all of them
    raw = gguf.quants.quantize(values, quant_type)
    path = tmp_path / "model.gguf"
    write_gguf(path, "llama", {}, {"token_embd.weight": raw}, {"token_embd.weight": quant_type})
    np.testing.assert_array_equal(GGUFFile(path).dequantize("token_embd.weight"), values)


def test_other_quantisations_are_refused_by_name(tmp_path: Path) -> None:
    quant_type = GGMLQuantizationType.IQ4_NL
    raw = random_blocks(quant_type, (2, 64), np.random.default_rng(0))
    path = tmp_path / "model.gguf"
    write_gguf(path, "llama", {}, {"token_embd.weight": raw}, {"token_embd.weight": quant_type})
    with pytest.raises(ModelError, match="IQ4_NL"):
        GGUFFile(path).dequantize("token_embd.weight")


def test_rope_factors_are_configuration_and_no_weights(tmp_path: Path) -> None:
    model = tiny_model("llama")
    factors = np.linspace(1, 8, 8, dtype=np.float32)
    tensors = {converted_name(name): value.numpy() for name, value in model.state_dict().items()}
    path = tmp_path / "model.gguf"
    write_gguf(path, "llama", sizes("llama", model.config), tensors | {"rope_freqs.weight": factors})
    assert not any("rope" in name for name in GGUFModel(GGUFFile(path)).names)
    assert load_model_config(path).rope.scaling == FrequencyFactors(tuple(factors.tolist()))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}, "yarn"),
        ({"llama.expert_count": 8}, "mixture of experts"),
        ({"llama.attention.sliding_window": 16}, "sliding-window"),
        ({"llama.rope.dimension_count": 8}, "a part of each head"),
        ({"llama.feed_forward_length": [96, 96]}, "feed_forward_length"),
        ({"split.count": 2}, "one of several parts"),
    ],
)
def test_what_is_not_done_is_refused_by_name(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    save_gguf(path, tiny_model("llama"), changes)
    with pytest.raises(ModelError, match=named):
        load_model_config(path)


def test_other_architectures_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(path, "gemma3", {}, {"token_embd.weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(ModelError, match=r"'gemma3'.*vLLM"):
        gguf_config(path)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.gguf"
    save_gguf(whole, tiny_model("llama"), {"tokenizer.ggml.tokens": ["a", "b"], "general.scores": [1.0, 2.0]})
    data = whole.read_bytes()
    start = GGUFFile(whole).data_start
    cut = tmp_path / "cut.gguf"
    for length in [*range(0, start, 7), start, len(data) // 2, len(data) - 1024]:
        cut.write_bytes(data[:length])
        with pytest.raises(ModelError, match=r"cut\.gguf"):
            GGUFFile(cut)


@pytest.mark.parametrize(
    "data",
    [
        b"GGML" + bytes(20),
        b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
        b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 63),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 0, 1 << 62),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 77),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"\xff" + struct.pack("<IB", 0, 1),
        b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<I", 1 << 31),
    ],
)
def test_what_is_no_gguf_file_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"not a whole GGUF file"):
        GGUFFile(path)


def test_rounding_to_bfloat16_is_that_of_torch() -> None:
    values = np.random.default_rng(0).integers(0, 1 << 32, 100_000, dtype=np.uint32).view(np.float32)
    values = np.concatenate([values[np.isfinite(values)], [0.0, -0.0, 3.4e38, 1e-45]], dtype=np.float32)
    expected = torch.from_numpy(values).bfloat16().view(torch.uint16).numpy()
    np.testing.assert_array_equal(to_bfloat16(values), expected)


@pytest.mark.slow
def test_the_real_model_is_read_as_transformers_reads_it(default_gguf: Path) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(
        default_gguf.parent,
        gguf_file=default_gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    ).state_dict()
    ours = GGUFModel(GGUFFile(default_gguf))
    assert set(ours.names) == set(theirs) - {"lm_head.weight"}
    for name in ours.names:
        np.testing.assert_array_equal(ours.load(name), theirs[name].numpy(), err_msg=name)


def test_the_real_models_configuration_and_chat_template_come_from_its_metadata(default_gguf: Path) -> None:
    file = GGUFFile(default_gguf)
    config = config_of(file)
    assert config["rms_norm_eps"] == 1e-5
    assert (config["eos_token_id"], config["bos_token_id"]) == ([2, 0], 1)
    tokenizer_config = tokenizer_config_of(file)
    assert "<|im_start|>" in tokenizer_config["chat_template"]
    assert (tokenizer_config["eos_token"], tokenizer_config["add_bos_token"]) == ("<|im_end|>", False)
