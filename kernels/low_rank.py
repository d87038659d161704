"""What a LoRA adapter adds to one projection of a model."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class LowRank:
    """The projection's output gains ``b @ (a @ x)``: a float32 [rank, K], b float32 [N, rank] with the scaling in it.

    ``first`` is the projection's first channel in the product that it is joined to others in (0 where it is alone).
    """

    a: Tensor
    b: Tensor
    first: int = 0

    @property
    def rank(self) -> int:
        return self.a.shape[0]
