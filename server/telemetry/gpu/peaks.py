"""What devices can do at most: dense FLOP/s by precision and memory bandwidth, which MFU and MBU are shares of."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

from .device_book import read_book


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """``flops`` a second by precision (bfloat16, fp8, int8, float32), ``bandwidth`` in bytes a second; None: not known."""

    flops: Mapping[str, float] = field(default_factory=dict)
    bandwidth: float | None = None
    source: str = ""

    def flops_at(self, precision: str) -> float | None:
        """At a precision as the engines call theirs; all forms of eight-bit floats (fp8_e4m3, float8, ...) are ``fp8``."""
        return self.flops.get("fp8" if precision.startswith(("fp8", "float8")) else precision)


def card_peak(card: str) -> Peak | None:
    """Of a card by what NVML or nvidia-smi calls it; None for one that is not in the device book."""
    fitting = [name for name in _cards() if name in card]
    return _cards()[max(fitting, key=len)] if fitting else None


@functools.cache
def _cards() -> Mapping[str, Peak]:
    return {
        entry.nvml: Peak(
            flops={precision: peak * 1e12 for precision, peak in entry.flops.items()},
            bandwidth=entry.bandwidth * 1e9,
            source=entry.source,
        )
        for entry in read_book().values()
        if entry.nvml is not None
    }
