"""The adapters that the CPU's kernels have at hand, as they read them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from pennyweight.kernels.low_rank import LowRank
from pennyweight.kernels.step import Step

from .library import LowRankPart, LowRankStep

PANEL = 16
# Projections in one product: queries, keys and values.
MOST_JOINED = 3


class AdapterTable:
    """What each slot's adapter adds to each projection, and the working memory that their steps need."""

    def __init__(self) -> None:
        self._slots: list[list[LowRankPart]] = []
        self._kept: list[list[Tensor]] = []
        self._table: ctypes.Array[LowRankPart] | None = None
        self._middle = torch.empty(0, 0)
        self._projections = 0

    def place(self, slot: int, adapter: Sequence[LowRank | None], max_tokens: int) -> None:
        """Make an adapter the one of a slot, for steps of at most ``max_tokens`` tokens."""
        self._projections = len(adapter)
        while len(self._slots) <= slot:
            self._slots.append([LowRankPart() for _ in adapter])
            self._kept.append([])
        self._kept[slot] = []
        self._slots[slot] = [LowRankPart() if one is None else self._part(one, slot) for one in adapter]
        self._table = (LowRankPart * (len(self._slots) * self._projections))(
            *(part for parts in self._slots for part in parts)
        )
        runs = (parts[at : at + MOST_JOINED] for parts in self._slots for at in range(len(parts)))
        widest = max(sum(part.rank for part in run) for run in runs)
        if self._middle.shape[1] < widest:
            self._middle = torch.empty(max_tokens, widest)

    def view(self, step: Step) -> LowRankStep:
        """What the kernels read for a step."""
        if step.adapters is None:
            return LowRankStep()
        assert self._table is not None, "an adapter is placed before a step names it"
        return LowRankStep(
            step.adapters.data_ptr(),
            ctypes.addressof(self._table),
            self._middle.data_ptr(),
            self._middle.shape[1],
            len(self._slots),
            self._projections,
        )

    def _part(self, one: LowRank, slot: int) -> LowRankPart:
        channels, rank = one.b.shape
        a = one.a.float().contiguous()
        # Panels of 16 channels, rank after rank.
        padded = torch.nn.functional.pad(one.b.float(), (0, 0, 0, -channels % PANEL))
        b = padded.view(-1, PANEL, rank).transpose(1, 2).contiguous()
        self._kept[slot] += [a, b]
        return LowRankPart(a.data_ptr(), b.data_ptr(), rank, channels, one.first)
