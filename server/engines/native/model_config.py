"""What a model is: the sizes and features that its config.json or GGUF metadata state, checked against what is done here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from pennyweight.server.engines.local.gguf import gguf_config
from pennyweight.server.engines.local.model_json import read_json_object
from pennyweight.server.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "LlamaForCausalLM": "llama",
        "MistralForCausalLM": "mistral",
        "Qwen2ForCausalLM": "qwen2",
        "Qwen3ForCausalLM": "qwen3",
    }
)
OTHER_ENGINES = "the engines vllm and tensorrt_llm may take it"
# Where config.json may leave head_dim out and it is not hidden_size / num_attention_heads.
DEFAULT_HEAD_DIMS: Mapping[str, int] = MappingProxyType({"qwen3": 128})


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3.1's stretching of slow rotations: frequencies under ``low_freq_factor`` turns in the original context are
    divided by ``factor``, those over ``high_freq_factor`` are kept, those between are blended (arXiv:2407.21783, 3.4.2).
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True, slots=True)
class FrequencyFactors:
    """A divisor for each of the head_dim / 2 frequencies: a scaling as GGUF files have it, already worked out."""

    factors: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary position embedding (arXiv:2104.09864) over whole heads, pairs half a head apart."""

    theta: float
    scaling: Llama3Scaling | FrequencyFactors | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A dense decoder-only model of one of ``FAMILIES``. ``attention_bias`` and ``mlp_bias`` are as Llama has them.

    ``sliding_window`` is what the checkpoint says; it is only there when it reaches over the whole context. ``quantization`` is
    what it says of how its weights are quantised.
    """

    family: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope: Rope
    tie_word_embeddings: bool
    attention_bias: bool
    mlp_bias: bool
    torch_dtype: str
    sliding_window: int | None
    quantization: Mapping[str, Any] | None


def load_model_config(path: Path) -> ModelConfig:
    """The configuration of the model in a directory in Hugging Face format or a .gguf file.

    Raises ModelError where it can't be read, lacks a size, or asks for what the native engine does not do.
    """
    if path.suffix == ".gguf":
        return parse_model_config(gguf_config(path), str(path))
    return parse_model_config(read_json_object(path / "config.json"), str(path))


def parse_model_config(raw: Mapping[str, Any], source: str) -> ModelConfig:
    """The configuration in what config.json holds, as transformers 4 or 5 write it. ``source`` names it in errors."""
    fields = _Fields(raw, source)
    family = _family(raw, source)
    _refuse_what_is_not_done(fields, family)
    hidden_size, num_heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    num_kv_heads = fields.size("num_key_value_heads", num_heads)
    head_dim = fields.size("head_dim", DEFAULT_HEAD_DIMS.get(family, hidden_size // num_heads))
    num_layers, max_positions = fields.size("num_hidden_layers"), fields.size("max_position_embeddings")
    if num_heads % num_kv_heads or head_dim % 2:
        raise ModelError(f"{source} has {num_heads} heads over {num_kv_heads} of keys, {head_dim} wide: they don't fit")
    return ModelConfig(
        family=family,
        hidden_size=hidden_size,
        intermediate_size=fields.size("intermediate_size"),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        vocab_size=fields.size("vocab_size"),
        max_position_embeddings=max_positions,
        rms_norm_eps=fields.number("rms_norm_eps", 1e-6),
        rope=_rope(raw, source, head_dim),
        tie_word_embeddings=bool(raw.get("tie_word_embeddings", False)),
        attention_bias=family == "llama" and bool(raw.get("attention_bias")),
        mlp_bias=family == "llama" and bool(raw.get("mlp_bias")),
        torch_dtype=str(raw.get("dtype") or raw.get("torch_dtype") or "float32").removeprefix("torch."),
        sliding_window=_window(fields, family, num_layers, max_positions),
        quantization=_quantization(raw, source),
    )


def rope_tables(config: ModelConfig, max_len: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of each position's rotations, both float32 [max_len, head_dim // 2].

    Computed in float64 and rounded once: frequencies in float32 are wrong by 4e-4 radians at position 8,192.
    """
    import torch

    angles = np.outer(np.arange(max_len, dtype=np.float64), _frequencies(config))
    return torch.from_numpy(np.cos(angles)).float(), torch.from_numpy(np.sin(angles)).float()


def _frequencies(config: ModelConfig) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Radians per position of each pair, float64 [head_dim // 2]."""
    frequencies = config.rope.theta ** (-np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim)
    scaling = config.rope.scaling
    if scaling is None:
        return frequencies
    if isinstance(scaling, FrequencyFactors):
        return frequencies / np.array(scaling.factors, dtype=np.float64)
    turns = scaling.original_max_position_embeddings * frequencies / (2 * np.pi)
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = np.clip(kept, 0.0, 1.0)
    scaled: np.ndarray[tuple[int], np.dtype[np.float64]] = frequencies * (kept + (1 - kept) / scaling.factor)
    return scaled


class _Fields:
    """Typed access to a configuration; a null is a missing field, as transformers has it."""

    def __init__(self, raw: Mapping[str, Any], source: str) -> None:
        self.raw = raw
        self.source = source

    def number(self, name: str, default: float | None = None) -> float:
        value = self.raw.get(name)
        if value is None:
            value = default
        if value is None:
            raise ModelError(f"the configuration of {self.source} lacks {name}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ModelError(f"the configuration of {self.source} has {name} = {value!r}, which is no positive number")
        return value

    def size(self, name: str, default: int | None = None) -> int:
        value = self.number(name, default)
        if not isinstance(value, int):
            raise ModelError(f"the configuration of {self.source} has {name} = {value!r}, which is no whole number")
        return value

    def refuse(self, feature: str) -> ModelError:
        return ModelError(f"{self.source} uses {feature}, which the native engine does not do; {OTHER_ENGINES}")


def _family(raw: Mapping[str, Any], source: str) -> str:
    architectures = raw.get("architectures") or []
    if not architectures and raw.get("model_type") in FAMILIES.values():
        return str(raw["model_type"])
    for architecture in architectures:
        if architecture in FAMILIES:
            return FAMILIES[architecture]
    name = ", ".join(map(str, architectures)) or repr(raw.get("model_type"))
    raise ModelError(f"{source} is a {name}; the native engine has {', '.join(FAMILIES)}. For others, {OTHER_ENGINES}")


def _refuse_what_is_not_done(fields: _Fields, family: str) -> None:
    raw = fields.raw
    if raw.get("num_local_experts") or raw.get("num_experts"):
        raise fields.refuse("a mixture of experts")
    if raw.get("hidden_act", "silu") not in ("silu", "swish"):
        raise fields.refuse(f"the activation {raw['hidden_act']!r}")
    if family == "qwen3" and raw.get("attention_bias"):
        raise fields.refuse("attention_bias with Qwen3")


def _quantization(raw: Mapping[str, Any], source: str) -> Mapping[str, Any] | None:
    """``quantization_config``, or ``compression_config`` as older versions of LLM Compressor called it."""
    found = raw.get("quantization_config") or raw.get("compression_config")
    if found and not isinstance(found, dict):
        raise ModelError(f"the configuration of {source} has a quantization_config that is no JSON object")
    return found or None


def _rope(raw: Mapping[str, Any], source: str, head_dim: int) -> Rope:
    """From ``rope_parameters`` (transformers 5), or ``rope_theta`` and ``rope_scaling`` (4)."""
    given = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if not isinstance(given, dict):
        raise ModelError(f"the configuration of {source} has rope parameters that are no JSON object")
    merged = {key: raw[key] for key in ("rope_theta", "partial_rotary_factor") if raw.get(key) is not None} | given
    fields = _Fields(merged, source)
    if fields.number("partial_rotary_factor", 1.0) != 1.0:
        raise fields.refuse("rotary embedding over a part of each head")
    theta = float(fields.number("rope_theta", 10000.0))
    kind = merged.get("rope_type", merged.get("type", "default"))
    if kind == "default":
        if any(isinstance(value, dict) for value in merged.values()):
            raise fields.refuse("rotary embeddings that differ by layer")
        return Rope(theta)
    if kind != "llama3":
        raise fields.refuse(f"the rope scaling {kind!r}")
    if "frequency_factors" in merged:
        factors = tuple(map(float, merged["frequency_factors"]))
        if len(factors) != head_dim // 2:
            raise ModelError(f"{source} has {len(factors)} rope factors for heads of {head_dim}")
        return Rope(theta, FrequencyFactors(factors))
    scaling = Llama3Scaling(
        factor=fields.number("factor"),
        low_freq_factor=fields.number("low_freq_factor"),
        high_freq_factor=fields.number("high_freq_factor"),
        original_max_position_embeddings=fields.size("original_max_position_embeddings"),
    )
    if scaling.low_freq_factor >= scaling.high_freq_factor:
        raise ModelError(f"the configuration of {source} has a low_freq_factor that is not below its high_freq_factor")
    return Rope(theta, scaling)


def _window(fields: _Fields, family: str, num_layers: int, max_positions: int) -> int | None:
    """The sliding window, if there is one that never cuts anything off. Raises ModelError for one that does."""
    raw = fields.raw
    window: int | None = raw.get("sliding_window")
    if raw.get("layer_types"):
        used = any(kind != "full_attention" for kind in raw["layer_types"])
    elif family in ("qwen2", "qwen3"):
        used = bool(raw.get("use_sliding_window")) and raw.get("max_window_layers", num_layers) < num_layers
    else:
        used = True
    if not window or not used:
        return None
    if window < max_positions:
        raise fields.refuse(f"sliding-window attention ({window} of {max_positions} positions)")
    return window
