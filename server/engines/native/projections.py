"""A decoder's projections by name: what adapters may add to, and in which order the kernels count them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .model_config import ModelConfig

# Of each layer, in the order of an adapter's entries; those of a matrix product lie side by side.
PER_LAYER = 7
QKV, OUTPUT, GATE_UP, DOWN = range(3), range(3, 4), range(4, 6), range(6, 7)


@dataclass(frozen=True, slots=True)
class ModelProjection:
    """A projection [rows, columns] under its Hugging Face name; ``first`` is its first row in the product that it is part of."""

    module: str
    rows: int
    columns: int
    first: int = 0


def places(layer: int, product: range) -> range:
    """Where a product's projections are among a model's."""
    return range(layer * PER_LAYER + product.start, layer * PER_LAYER + product.stop)


def model_projections(config: ModelConfig) -> Iterator[ModelProjection]:
    """All of a model's, layer after layer."""
    hidden, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    for layer in range(config.num_layers):
        attention, mlp = f"model.layers.{layer}.self_attn", f"model.layers.{layer}.mlp"
        yield ModelProjection(f"{attention}.q_proj", queries, hidden)
        yield ModelProjection(f"{attention}.k_proj", keys, hidden, queries)
        yield ModelProjection(f"{attention}.v_proj", keys, hidden, queries + keys)
        yield ModelProjection(f"{attention}.o_proj", hidden, queries)
        yield ModelProjection(f"{mlp}.gate_proj", inner, hidden)
        yield ModelProjection(f"{mlp}.up_proj", inner, hidden, inner)
        yield ModelProjection(f"{mlp}.down_proj", hidden, inner)
