"""A device's kernels as the model runner drives them: prepare weights, allocate, capture once, run each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from .geometry import Geometry
from .low_rank import LowRank
from .ops import KVCacheDtype, Ops, Projection
from .step import Step

# A model's whole forward pass: from the step's tokens to the logits of the step's logit rows.
Forward = Callable[[Ops], Projection]


class Backend(Protocol):
    """Made by ``select_backend``; used by one thread, but for ``progress``.

    The order is: ``ops.prepare_*`` for every weight, ``allocate`` (which knows what memory is left), ``capture``, ``run``.
    """

    @property
    def ops(self) -> Ops: ...

    device: torch.device
    kv_cache_dtype: KVCacheDtype

    def allocate(self, geometry: Geometry) -> None:
        """Make the KV cache and every buffer that a step needs."""
        ...

    def capture(self, forward: Forward) -> None:
        """Take the model's forward pass; record it where the device's kernels are recorded."""
        ...

    def place_adapter(self, slot: int, adapter: Sequence[LowRank | None]) -> None:
        """Make an adapter the one of a slot, in place of the one that was there; between steps.

        It has an entry for each of the model's projections, in the order that the forward pass counts them in; as many for
        every adapter. ``Step.adapters`` names slots.
        """
        ...

    def copy_blocks(self, sources: Sequence[int], destinations: Sequence[int]) -> None:
        """Copy keys and values of whole blocks, in all layers; between steps. No block is a destination twice, or also a source."""
        ...

    def run(self, step: Step) -> torch.Tensor:
        """The logits, float32 [R, V], on the device; valid until the next ``run``."""
        ...

    @property
    def progress(self) -> int:
        """A number that changes while ``run`` gets on, with each operation or oftener. The one thing that other threads may ask for."""
        ...

    def describe(self) -> dict[str, str]:
        """What the numerics depend on (kernel names, instruction set, tiles, threads' influence), for the fingerprint."""
        ...

    def variance(self, *, adapters: bool = False) -> str:
        """Why a token's results may differ with what else is in its step (also where its sequence has an adapter); empty where
        they are the same to the bit, whatever the step, the threads and the run."""
        ...
