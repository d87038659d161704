"""How one measure of latency is distributed over a load."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from .bootstrap import Interval, clustered_interval, percentile_interval

FIVE = (50.0, 90.0, 95.0, 99.0, 99.9)


class Distribution(msgspec.Struct, frozen=True):
    """Percentiles lie between neighbouring values by straight line; intervals are 95 % bootstrap intervals."""

    count: int
    mean: float
    std: float
    min: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    max: float
    p50_interval: Interval
    p99_interval: Interval


def distribution(values: Sequence[float | None], seed: int) -> Distribution | None:
    """Of independent values; None where there are none. Those that are None are left out."""
    known = np.sort(np.array([value for value in values if value is not None], dtype=np.float64))
    if not len(known):
        return None
    generator = np.random.default_rng(seed)
    median, last = (percentile_interval(known, percent, generator) for percent in (50, 99))
    return _distribution(known, median, last)


def pooled_distribution(groups: Sequence[Sequence[float]], seed: int) -> Distribution | None:
    """Of values that come in groups, all of them pooled; the intervals are those of drawing whole groups."""
    known = [np.array(group, dtype=np.float64) for group in groups if group]
    if not known:
        return None
    median, last = clustered_interval(known, (50, 99), np.random.default_rng(seed))
    return _distribution(np.sort(np.concatenate(known)), median, last)


def _distribution(ordered: NDArray[np.float64], median: Interval, last: Interval) -> Distribution:
    p50, p90, p95, p99, p999 = (float(value) for value in np.percentile(ordered, FIVE))
    return Distribution(
        count=len(ordered),
        mean=float(ordered.mean()),
        std=float(ordered.std()),
        min=float(ordered[0]),
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        p999=p999,
        max=float(ordered[-1]),
        p50_interval=median,
        p99_interval=last,
    )
