"""Reads a LoRA adapter: every tensor checked against the model before any of it is used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pennyweight.kernels.low_rank import LowRank
from pennyweight.server.engines.local.peft_adapter import (
    WEIGHTS_FILE,
    PeftAdapter,
    adapter_digest,
    read_peft_adapter,
)
from pennyweight.server.errors import ModelError
from pennyweight.server.types import Adapter

from .loader import Weights, open_safetensors
from .projections import ModelProjection

# What peft puts before the names of the model's own modules.
PREFIX = "base_model.model."
FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def load_adapter(adapter: Adapter, projections: Sequence[ModelProjection], *, max_rank: int) -> list[LowRank | None]:
    """What the adapter adds to each projection, None where it adds nothing.

    Raises ModelError for an adapter that doesn't fit the model, or is another by now than the one that was asked for.
    """
    directory = Path(adapter.path)
    # The prefix cache goes by the digest: what is loaded must be what it was made from.
    if adapter_digest(directory) != adapter.digest:
        raise ModelError("its files have changed a moment ago; try again")
    given = read_peft_adapter(directory, max_rank=max_rank)
    _check_targets(given, projections)
    with open_safetensors(directory / WEIGHTS_FILE) as weights:
        untaken = set(weights.names())
        found = [_take(weights, given, projection, untaken) for projection in projections]
    if untaken:
        left = sorted(untaken)
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        raise ModelError(f"it has tensors that belong to nothing in this model: {', '.join(left[:3])}{more}")
    adapted = [one.module for one, part in zip(projections, found, strict=True) if part is not None]
    for target in given.target_modules or ("",):
        if not any(_names(target, module) for module in adapted):
            raise ModelError(f"it has no weights for its target module {target}" if target else "it has no weights")
    return found


def _check_targets(given: PeftAdapter, projections: Iterable[ModelProjection]) -> None:
    modules = [one.module for one in projections]
    known = dict.fromkeys(module.rpartition(".")[2] for module in modules)
    for target in given.target_modules:
        if not any(_names(target, module) for module in modules):
            raise ModelError(
                f"it targets the module {target}, which this model doesn't have or can't have adapted: there are {', '.join(known)}"
            )


def _names(target: str, module: str) -> bool:
    return module == target or module.endswith(f".{target}") or not target


def _take(weights: Weights, given: PeftAdapter, projection: ModelProjection, untaken: set[str]) -> LowRank | None:
    names = [f"{PREFIX}{projection.module}.lora_{part}.weight" for part in "AB"]
    if not any(name in untaken for name in names):
        return None
    rank = given.rank_of(projection.module)
    shapes = [rank, projection.columns], [projection.rows, rank]
    a, b = (_tensor(weights, name, shape) for name, shape in zip(names, shapes, strict=True))
    untaken -= set(names)
    return LowRank(a, b * given.scaling_of(projection.module), projection.first)


def _tensor(weights: Weights, name: str, shape: list[int]) -> Tensor:
    if name not in weights:
        raise ModelError(f"it has no tensor {name}")
    tensor = weights.load(name)
    if list(tensor.shape) != shape:
        raise ModelError(f"its tensor {name} is {list(tensor.shape)}, where rank and model ask for {shape}")
    if tensor.dtype not in FLOATS:
        raise ModelError(f"its tensor {name} is of {tensor.dtype}; there should be floats")
    if not bool(torch.isfinite(tensor).all()):
        raise ModelError(f"its tensor {name} has values that are no finite numbers")
    return tensor.float()
