"""A GGUF file seen as a model in Hugging Face format: configuration, tensor names, tensor layout. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from pennyweight.server.errors import ModelError

from .gguf_file import GGUFFile
from .gguf_tokenizer import adds_bos

# general.architecture -> (architectures, model_type). llama.cpp files Mistral 7B and its like under llama.
ARCHITECTURES = MappingProxyType(
    {
        "llama": ("LlamaForCausalLM", "llama"),
        "qwen2": ("Qwen2ForCausalLM", "qwen2"),
        "qwen3": ("Qwen3ForCausalLM", "qwen3"),
    }
)
TOP_LEVEL_NAMES = MappingProxyType(
    {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
)
LAYER_NAMES = MappingProxyType(
    {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
)
# Rope scaling that the converter worked out, one divisor for each frequency: part of the configuration here.
ROPE_FACTORS = "rope_freqs.weight"
# Control tokens that end an answer under whatever name the metadata has or lacks for them, as llama.cpp takes them.
END_TOKENS = frozenset({"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"})
CONTROL = 3


class GGUFModel:
    """The tensors of a GGUF file under their Hugging Face names and in their Hugging Face layout."""

    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        self._heads = _permuted_heads(file.metadata)
        self.names = {hf_name(name): name for name in file.tensors if name != ROPE_FACTORS}

    def shape(self, name: str) -> tuple[int, ...]:
        return self.file.tensors[self.names[name]].shape

    def load(self, name: str) -> npt.NDArray[np.float32]:
        """A tensor by its Hugging Face name, dequantised to float32.

        Raises KeyError for an unknown name, ModelError for a quantisation that is not done.
        """
        return self._in_order(name, self.file.dequantize(self.names[name]))

    def quant_type(self, name: str) -> str:
        """How a tensor is stored, as llama.cpp calls it."""
        return self.file.tensors[self.names[name]].quant_type.name

    def raw(self, name: str) -> npt.NDArray[np.uint8]:
        """A tensor's rows as they are stored, [rows, bytes], in their Hugging Face order."""
        return self._in_order(name, self.file.raw(self.names[name]))

    def _in_order(self, name: str, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        for suffix, num_heads in self._heads.items():
            if f".{suffix}." in name:
                return _undo_permutation(rows, num_heads)
        return rows


def hf_name(name: str) -> str:
    """A tensor's Hugging Face name; the name itself where there is none, so that the caller can report it."""
    if layer := re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name):
        number, part, kind = layer.groups()
        return f"model.layers.{number}.{LAYER_NAMES[part]}.{kind}" if part in LAYER_NAMES else name
    part, _, kind = name.rpartition(".")
    return f"{TOP_LEVEL_NAMES[part]}.{kind}" if part in TOP_LEVEL_NAMES else name


def gguf_config(path: Path) -> dict[str, Any]:
    """What config.json would say of the model in this file.

    Rope scaling baked into the file comes as ``rope_scaling: {"rope_type": "llama3", "frequency_factors": [...]}``.
    Raises ModelError for an architecture that is not one of ``ARCHITECTURES`` or metadata that lacks a size.
    """
    return config_of(GGUFFile(path))


def config_of(file: GGUFFile) -> dict[str, Any]:
    """As ``gguf_config``, of an open file."""
    metadata, tensors = file.metadata, file.tensors
    arch = str(metadata.get("general.architecture"))
    if arch not in ARCHITECTURES:
        raise ModelError(
            f"{file.path} is a {arch!r} model; the native engine reads GGUF of {', '.join(ARCHITECTURES)}. "
            "Serve it with llama.cpp, or take its safetensors to the vLLM or TensorRT-LLM engine"
        )
    if "token_embd.weight" not in tensors:
        raise ModelError(f"{file.path} holds no token embeddings: it is not a whole model")

    def required(key: str) -> Any:
        if f"{arch}.{key}" not in metadata:
            raise ModelError(f"{file.path} lacks the metadata {arch}.{key}; convert the model again")
        return metadata[f"{arch}.{key}"]

    def size(key: str) -> int:
        value = required(key)
        if not isinstance(value, int) or value <= 0:
            raise ModelError(f"{file.path} has {arch}.{key} = {value!r}, where one positive number is expected")
        return value

    def optional(key: str, default: Any = None) -> Any:
        return metadata.get(f"{arch}.{key}", default)

    architecture, model_type = ARCHITECTURES[arch]
    hidden_size, num_heads = size("embedding_length"), size("attention.head_count")
    rotary_size = optional("rope.dimension_count", hidden_size // num_heads)
    head_dim = optional("attention.key_length", rotary_size)
    config = {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_act": "silu",
        "hidden_size": hidden_size,
        "intermediate_size": size("feed_forward_length"),
        "num_hidden_layers": size("block_count"),
        "num_attention_heads": num_heads,
        "num_key_value_heads": optional("attention.head_count_kv", num_heads),
        "head_dim": head_dim,
        "vocab_size": tensors["token_embd.weight"].shape[0],
        "max_position_embeddings": size("context_length"),
        # The file has these as float32; the decimal that was meant is the shortest one that gives the same float32.
        "rms_norm_eps": _shortest(required("attention.layer_norm_rms_epsilon")),
        "rope_theta": _shortest(optional("rope.freq_base", 10000.0)),
        "rope_scaling": _rope_scaling(file, optional),
        "tie_word_embeddings": "output.weight" not in tensors,
        "attention_bias": "blk.0.attn_q.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
        "torch_dtype": "bfloat16",
    }
    if rotary_size != head_dim:
        config["partial_rotary_factor"] = rotary_size / head_dim
    if optional("expert_count", 0):
        config["num_local_experts"] = optional("expert_count")
    if optional("attention.sliding_window", 0):
        config["sliding_window"] = optional("attention.sliding_window")
    return config | _token_ids(metadata)


def generation_config_of(file: GGUFFile) -> dict[str, Any]:
    """What generation_config.json would say: the ids that begin and end a text."""
    return _token_ids(file.metadata)


def tokenizer_config_of(file: GGUFFile) -> dict[str, Any]:
    """What tokenizer_config.json would say: special tokens, whether texts begin with one, the chat template."""
    metadata = file.metadata
    tokens = metadata.get("tokenizer.ggml.tokens", [])
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": metadata.get(f"{metadata.get('general.architecture')}.context_length"),
        "add_bos_token": adds_bos(metadata),
        "add_eos_token": bool(metadata.get("tokenizer.ggml.add_eos_token", False)),
    }
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        token_id = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if token_id is not None and token_id < len(tokens):
            config[f"{name}_token"] = tokens[token_id]
    if "tokenizer.chat_template" in metadata:
        config["chat_template"] = metadata["tokenizer.chat_template"]
    return config


def _token_ids(metadata: dict[str, Any]) -> dict[str, Any]:
    ids = {name: metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "eot", "eom")}
    tokens, kinds = metadata.get("tokenizer.ggml.tokens", []), metadata.get("tokenizer.ggml.token_type", [])
    named = [index for index, kind in enumerate(kinds) if kind == CONTROL and tokens[index] in END_TOKENS]
    ends = [ids[name] for name in ("eos", "eot", "eom") if ids[name] is not None] + named
    return {"bos_token_id": ids["bos"], "eos_token_id": list(dict.fromkeys(ends))}


def _rope_scaling(file: GGUFFile, optional: Any) -> dict[str, Any] | None:
    if ROPE_FACTORS in file.tensors:
        return {"rope_type": "llama3", "frequency_factors": file.dequantize(ROPE_FACTORS).tolist()}
    kind = optional("rope.scaling.type", "none")
    return None if kind == "none" else {"rope_type": kind, "factor": optional("rope.scaling.factor", 1.0)}


def _permuted_heads(metadata: dict[str, Any]) -> dict[str, int]:
    """The projections whose rows the converter reordered, and their number of heads."""
    if metadata.get("general.architecture") != "llama":
        return {}
    num_heads = metadata.get("llama.attention.head_count", 0)
    return {"q_proj": num_heads, "k_proj": metadata.get("llama.attention.head_count_kv", num_heads)}


def _undo_permutation(values: npt.NDArray[np.float32], num_heads: int) -> npt.NDArray[np.float32]:
    """From llama.cpp's rotation of neighbouring rows (0, 1), (2, 3)... back to pairs half a head apart.

    values: [num_heads * head_dim, ...], weights or biases.
    """
    heads = values.reshape(num_heads, -1, 2, *values.shape[1:])
    return np.ascontiguousarray(heads.swapaxes(1, 2)).reshape(values.shape)


def _shortest(value: float) -> float:
    return float(str(np.float32(value)))
