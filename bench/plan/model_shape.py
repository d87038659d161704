"""A model's sizes, from its config.json alone: how many weights, how many bytes of KV cache, how many FLOPs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pennyweight.server.errors import ConfigError

# Other names for the same size, by family: Mixtral, Qwen-MoE, DeepSeek.
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
# Kinds of layers and attention whose costs are not those of a Llama: state-space layers, latent and linear attention.
UNLIKE_LLAMA = ("kv_lora_rank", "ssm_cfg", "mamba_d_state", "state_size", "linear_num_key_heads")


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a decoder of the Llama family, dense or with routed experts in every layer.

    ``intermediate_size`` is one MLP's (one expert's where there are several); ``experts`` is 1 and ``active_experts`` 1 for
    a dense model. ``shared_size`` is the intermediate size of experts that every token passes, 0 for none.
    """

    name: str
    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    is_tied: bool
    context: int
    experts: int = 1
    active_experts: int = 1
    shared_size: int = 0

    @property
    def attention_parameters(self) -> int:
        """Weights of a layer's attention that multiply a token: queries, keys, values, output."""
        return self.hidden_size * self.head_dim * (2 * self.heads + 2 * self.kv_heads)

    @property
    def expert_parameters(self) -> int:
        """Weights of one expert of one layer (of the whole MLP in a dense model): gate, up and down."""
        return 3 * self.hidden_size * self.intermediate_size

    @property
    def always_parameters(self) -> int:
        """Weights of all layers that every token passes, whatever it is routed to."""
        shared = 3 * self.hidden_size * self.shared_size
        router = self.hidden_size * self.experts if self.experts > 1 else 0
        return self.layers * (self.attention_parameters + shared + router)

    @property
    def head_parameters(self) -> int:
        """Weights of the head, which only tokens pass that are followed by a sampled one."""
        return self.hidden_size * self.vocab_size

    @property
    def layer_parameters(self) -> int:
        """Weights of all layers, with every expert: what quantisation makes smaller."""
        return self.always_parameters + self.layers * self.experts * self.expert_parameters

    @property
    def parameters(self) -> int:
        """All weights: layers, embeddings, head (once where it is tied). Norms are left out, about 0.01 %."""
        return self.layer_parameters + self.head_parameters * (1 if self.is_tied else 2)

    @property
    def active_parameters(self) -> int:
        """Weights that one token is multiplied with, the head among them."""
        active = self.layers * self.active_experts * self.expert_parameters
        return self.always_parameters + active + self.head_parameters

    @property
    def attention_flops_per_pair(self) -> int:
        """FLOPs for one query token attending to one token: scores and values, all heads and layers."""
        return 4 * self.layers * self.heads * self.head_dim

    def kv_bytes_per_token(self, kv_bits: int, tp: int = 1) -> int:
        """Bytes of KV cache for a token on each of ``tp`` GPUs; heads that don't divide are held more than once."""
        return 2 * self.layers * -(-self.kv_heads // tp) * self.head_dim * kv_bits // 8

    def distinct_experts(self, tokens: float) -> float:
        """Experts of a layer that ``tokens`` tokens reach, if they are routed evenly and independently."""
        missed: float = (1.0 - self.active_experts / self.experts) ** tokens
        return self.experts * (1.0 - missed)


def read_model_shape(path: Path) -> ModelShape:
    """The shape in a config.json, or in the one of a model's directory.

    Raises ConfigError for a file that can't be read, lacks a size, or is of an architecture whose costs differ.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the model's {file} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"the model's {file} is not valid JSON: {error}") from None
    if not isinstance(config, dict):
        raise ConfigError(f"the model's {file} is no JSON object")
    config = config.get("text_config", config)  # of a model that sees
    if unlike := [name for name in UNLIKE_LLAMA if config.get(name)]:
        raise ConfigError(
            f"{file} has {unlike[0]}: the planner knows decoders of the Llama family, dense or with routed experts, only"
        )

    def size(*names: str, default: int | None = None) -> int:
        for name in names:
            value: Any = config.get(name)
            if isinstance(value, int) and value > 0:
                return value
        if default is None:
            raise ConfigError(f"{file} has no {names[0]}, which the planner needs")
        return default

    hidden, heads, layers = size("hidden_size"), size("num_attention_heads"), size("num_hidden_layers")
    experts = size(*EXPERTS, default=1)
    dense_size = size("intermediate_size", default=0 if experts > 1 else None)
    shared = config.get("shared_expert_intermediate_size") or 0
    if experts > 1 and config.get("n_shared_experts"):
        shared = config["n_shared_experts"] * size("moe_intermediate_size")
    return ModelShape(
        name=file.resolve().parent.name if file.name == "config.json" else file.stem,
        layers=layers,
        hidden_size=hidden,
        heads=heads,
        kv_heads=size("num_key_value_heads", default=heads),
        head_dim=size("head_dim", default=hidden // heads),
        intermediate_size=dense_size if experts == 1 else size("moe_intermediate_size", default=dense_size),
        vocab_size=size("vocab_size"),
        is_tied=bool(config.get("tie_word_embeddings", False)),
        context=size("max_position_embeddings", default=8192),
        experts=experts,
        active_experts=size("num_experts_per_tok", default=1) if experts > 1 else 1,
        shared_size=shared,
    )
