"""Writing small GGUF files, laid out as llama.cpp's converter does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType
from transformers import PretrainedConfig, PreTrainedModel

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(
    path: Path,
    arch: str,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    quant_types: Mapping[str, GGMLQuantizationType] | None = None,
) -> None:
    """``tensors`` are float32, or raw uint8 rows of the type that ``quant_types`` names for them."""
    writer = gguf.GGUFWriter(path, arch)
    for key, value in metadata.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    for name, values in tensors.items():
        writer.add_tensor(name, values, raw_dtype=(quant_types or {}).get(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def sizes(arch: str, config: PretrainedConfig) -> dict[str, Any]:
    """The metadata that states a configuration's sizes."""
    values = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": config.rope_parameters["rope_theta"],
    }
    if getattr(config, "head_dim", None):
        values["attention.key_length"] = values["rope.dimension_count"] = config.head_dim
    return {f"{arch}.{key}": value for key, value in values.items()}


def save_gguf(path: Path, model: PreTrainedModel, extra: Mapping[str, Any] | None = None) -> None:
    """A transformers model in float32, without a tokenizer unless ``extra`` brings one."""
    config = model.config
    arch = {"mistral": "llama"}.get(config.model_type, config.model_type)
    tensors = {}
    for name, parameter in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = parameter.float().numpy()
        if arch == "llama" and (".q_proj." in name or ".k_proj." in name):
            values = permute(values, config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads)
        tensors[converted_name(name)] = values
    write_gguf(path, arch, sizes(arch, config) | dict(extra or {}), tensors)


def converted_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in NAMES:
        return f"{NAMES[stem]}.{kind}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{NAMES[part]}.{kind}"


def permute(values: np.ndarray, num_heads: int) -> np.ndarray:
    """Rows of each head from halves (i, i + head_dim / 2) to neighbours (2i, 2i + 1)."""
    halves = values.reshape(num_heads, 2, -1, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)


def random_blocks(
    quant_type: GGMLQuantizationType, shape: Sequence[int], rng: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Random bytes that are finite values of ``quant_type``: raw rows of a [rows, columns] tensor."""
    rows, columns = shape
    block_size, block_bytes = gguf.GGML_QUANT_SIZES[quant_type]
    blocks = rng.integers(0, 256, (rows * columns // block_size, block_bytes), dtype=np.uint8)
    if quant_type.name in SCALES:
        for offset in SCALES[quant_type.name]:
            scale = rng.uniform(-2, 2, (len(blocks), 1)).astype("<f2")
            blocks[:, offset : offset + 2] = scale.view(np.uint8)
    return blocks.reshape(rows, -1)


# Where in a block its float16 scales are.
SCALES = {"Q4_0": (0,), "Q4_1": (0, 2), "Q8_0": (0,), "Q4_K": (0, 2), "Q6_K": (208,)}
