"""One kernel at one size, timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

LEAST_SECONDS = 0.15
LEAST_TIMES = 5
# What takes so long varies little, and is the slow one anyway.
LONG_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """``seconds`` of a call (median), beside the least that it must compute and move.

    ``by`` is whose kernel it is: pennyweight, torch, or reference. ``arithmetic`` is what its operations are done in, a key of the
    machine's ceilings. ``num_bytes`` are those that must come from or go to memory once; what a cache may hold isn't counted.
    """

    kernel: str
    by: str
    sizes: Mapping[str, int]
    seconds: float
    operations: int
    num_bytes: int
    arithmetic: str


def median_seconds(act: Callable[[], object], device: torch.device) -> float:
    """The median of at least five calls over 0.15 s or more, after one that doesn't count; one call where it takes long."""

    def seconds() -> float:
        _settle(device)
        started = time.perf_counter()
        act()
        _settle(device)
        return time.perf_counter() - started

    first = seconds()
    times = [seconds()]
    if first > LONG_SECONDS:
        return times[0]
    while len(times) < LEAST_TIMES or sum(times) < LEAST_SECONDS:
        times.append(seconds())
    return statistics.median(times)


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
