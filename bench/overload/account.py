"""What the levels of a run come to for each configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import numpy as np

from .configurations import WITH
from .measure import Level, Outcome

# What a server is to keep of its peak goodput, by the load as a multiple of its capacity, and seconds for a refusal.
LEAST_GOODPUT = {2.0: 0.95, 5.0: 0.90}
MOST_REFUSAL_SECONDS = 0.05
MEBIBYTE = 2**20


def account(outcome: Outcome) -> list[dict[str, Any]]:
    """Of each configuration: goodput at each share (medians of the rounds), its peak, what is kept of that, the slowest refusals,
    the front's CPU for each refusal and each answer, and the memory at the first load's end and the last's."""
    found = []
    for name in dict.fromkeys(level.configuration for level in outcome.levels):
        levels = [level for level in outcome.levels if level.configuration == name]
        shares = sorted({level.share for level in levels})
        goodput = {
            share: median(level.summary.goodput or 0.0 for level in levels if level.share == share) for share in shares
        }
        peak = max(goodput.values())
        answered_us, refused_us = _cpu(levels)
        slowest = [level.refusals.p99 for level in levels if level.refusals is not None and level.refused >= 100]
        found.append(
            {
                "name": name,
                "goodput": [[share, value] for share, value in goodput.items()],
                "peak_goodput": peak,
                "kept": [[share, value / peak if peak else 0.0] for share, value in goodput.items()],
                "refusal_p99": max(slowest, default=None),
                "cpu_us_per_answer": answered_us,
                "cpu_us_per_refusal": refused_us,
                "first_memory": levels[0].memory,
                "last_memory": levels[-1].memory,
            }
        )
    return found


def _cpu(levels: Sequence[Level]) -> tuple[float | None, float | None]:
    """Microseconds of the front for an answer and for a refusal: least squares over the levels. None where nothing was refused."""
    answered = np.array([level.answered for level in levels], dtype=np.float64)
    refused = np.array([level.refused for level in levels], dtype=np.float64)
    seconds = np.array([level.front_cpu_seconds for level in levels])
    if len(levels) < 3 or not refused.any() or any(level.gave_up for level in levels):
        return None, None
    solved, *_ = np.linalg.lstsq(np.column_stack([answered, refused]), seconds, rcond=None)
    return float(solved[0] * 1e6), float(solved[1] * 1e6)


def shortfalls(accounts: Sequence[dict[str, Any]]) -> Iterator[str]:
    """One sentence for each thing that the limit was to reach and did not."""
    for one in accounts:
        if one["name"] != WITH:
            continue
        kept = dict(map(tuple, one["kept"]))
        for share, least in LEAST_GOODPUT.items():
            if share in kept and kept[share] < least:
                yield f"at {share:g} times the capacity {kept[share]:.1%} of the peak goodput was kept, not {least:.0%}"
        if one["refusal_p99"] is not None and one["refusal_p99"] > MOST_REFUSAL_SECONDS:
            yield f"refusals took {one['refusal_p99'] * 1e3:.0f} ms at p99, not {MOST_REFUSAL_SECONDS * 1e3:.0f}"
