"""What the operations have in common wherever the values that flow are tensors: embedding, rows of logits, adapters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .geometry import Geometry, KVCache
from .low_rank import LowRank
from .ops import Ops, Precision
from .step import Step


@dataclass(frozen=True, slots=True)
class Int8Rows:
    """An activation: int8 [T, K] and one float32 scale for each token [T, 1]."""

    values: Tensor
    scale: Tensor


TensorActivation = Tensor | Int8Rows


@dataclass(frozen=True, slots=True)
class _Taken:
    """What all implementations need of a step's index arrays."""

    token_ids: Tensor
    logit_rows: Tensor
    adapted: list[tuple[int, Tensor]]  # slots of adapters, and the rows that each has


class TensorOps(Ops, ABC):
    """The part of Ops that TorchOps and TritonOps share.

    ``wide`` is the type of the residual stream and of what products give, ``compute`` the one that they read.
    """

    def __init__(self, precision: Precision, device: torch.device, *, wide: torch.dtype = torch.float32) -> None:
        self.precision = precision
        self.device = device
        self.wide = wide
        self.compute = wide if precision is Precision.FLOAT32 else torch.bfloat16
        self._weight_bytes = 0
        self._taken: _Taken | None = None
        self._adapters: dict[int, list[LowRank | None]] = {}
        self.products = 0  # computed so far

    @abstractmethod
    def bind(self, geometry: Geometry, cache: KVCache) -> None:
        """Take the sizes, the rotation tables and the cache that ``attention`` works with."""

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """What the results depend on beside the device, for the fingerprint."""

    @abstractmethod
    def variance(self, *, adapters: bool) -> str:
        """As in ``Backend``."""

    def begin(self, step: Step, *, padded: bool = False) -> None:
        """Take the step that the next operations belong to.

        ``padded`` is for decode steps whose work must not depend on the values in them: every context counts as
        ``max_context`` tokens, and nothing is read back from the device.
        """
        self._taken = _Taken(
            token_ids=step.token_ids.long(),
            logit_rows=step.logit_rows.long(),
            adapted=[] if step.adapters is None else self._rows_by_adapter(step.adapters),
        )

    def place_adapter(self, slot: int, adapter: Sequence[LowRank | None]) -> None:
        """Make an adapter the one of a slot."""

        def here(x: Tensor) -> Tensor:
            return x.to(self.device, self.wide)

        self._adapters[slot] = [
            None if one is None else LowRank(here(one.a), here(one.b), one.first) for one in adapter
        ]

    @property
    def weight_bytes(self) -> int:
        return self._weight_bytes

    def prepare_table(self, weight: Tensor) -> Tensor:
        return weight.to(self.device, self.compute)

    def prepare_vector(self, weight: Tensor) -> Tensor:
        return weight.to(self.device, self.wide)

    def embedding(self, table: Tensor) -> Tensor:
        return table[self._now.token_ids].to(self.wide)

    def add_low_rank(self, out: Tensor, a: TensorActivation, projections: range) -> Tensor:
        self.products += 1  # each is followed by this, whether or not there are adapters
        for slot, rows in self._now.adapted:
            parts = [part for place in projections if (part := self._adapters[slot][place]) is not None]
            if not parts:
                continue
            x = (a.values[rows] * a.scale[rows] if isinstance(a, Int8Rows) else a[rows]).to(self.wide)
            for part in parts:
                channels = out[:, part.first : part.first + part.b.shape[0]]
                channels.index_add_(0, rows, (x @ part.a.t()) @ part.b.t())
        return out

    def logit_rows(self, x: Tensor) -> Tensor:
        return x[self._now.logit_rows]

    @property
    def _now(self) -> _Taken:
        assert self._taken is not None, "begin() comes before the operations"
        return self._taken

    def _joined_bias(self, sizes: Sequence[int], biases: Sequence[Tensor | None]) -> Tensor | None:
        """The parts' biases as one [sum of sizes]; None where no part has one."""
        if all(one is None for one in biases):
            return None
        pieces = [torch.zeros(size) if one is None else one.float() for size, one in zip(sizes, biases, strict=True)]
        return torch.cat(pieces).to(self.device, self.wide)

    def _rows_by_adapter(self, adapters: Tensor) -> list[tuple[int, Tensor]]:
        slots = adapters.tolist()
        return [
            (slot, torch.tensor([row for row, one in enumerate(slots) if one == slot], device=self.device))
            for slot in sorted(set(slots) - {-1})
        ]
