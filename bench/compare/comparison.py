"""What several rounds come to: the median of each measure, and how each target stands to the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .measure import Measurement

# The measures of which less is better are all but this one.
MORE_IS_BETTER = "output_tokens_per_second"
OF_LOADS = (
    MORE_IS_BETTER,
    "ttft_p50",
    "ttft_p99",
    "tpot_p50",
    "e2e_p50",
    "cpu_seconds_per_output_token",
    "cpu_seconds_per_request",
)
OF_SERVERS = ("seconds_to_ready", "seconds_to_first_answer", "resident_bytes")


@dataclass(frozen=True)
class Row:
    """A target: the median of each measure over its rounds that succeeded, and its ratios to the baseline."""

    label: str
    peer: str
    variant: str
    rounds: int
    failures: tuple[str, ...]
    medians: Mapping[str, float]
    ratios: Mapping[str, float]


def make_rows(measurements: Sequence[Measurement], ratios: Mapping[tuple[str, str], float]) -> list[Row]:
    """The targets in the order in which they were first measured. ``ratios`` are by target and measure."""
    grouped: dict[str, list[Measurement]] = {}
    for one in measurements:
        grouped.setdefault(one.label, []).append(one)
    return [
        Row(
            label=label,
            peer=group[0].peer,
            variant=group[0].variant,
            rounds=sum(one.failure is None for one in group),
            failures=tuple(one.failure for one in group if one.failure is not None),
            medians=_medians(group),
            ratios={measure: value for (name, measure), value in ratios.items() if name == label},
        )
        for label, group in grouped.items()
    ]


def measures(one: Measurement) -> dict[str, float]:
    """The numbers of a measurement by name; those of a load carry its concurrency: ``ttft_p50@32``."""
    found: dict[str, float | None] = {
        f"{name}@{load.concurrency}": getattr(load, name) for load in one.loads for name in OF_LOADS
    }
    found |= {name: getattr(one, name) for name in OF_SERVERS}
    return {name: value for name, value in found.items() if value is not None}


def is_better(measure: str, ratio: float) -> bool:
    """Whether a ratio to the baseline is an improvement."""
    return ratio > 1 if measure.startswith(MORE_IS_BETTER) else ratio < 1


def _medians(group: Sequence[Measurement]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for one in group:
        for name, value in measures(one).items():
            values.setdefault(name, []).append(value)
    return {name: median(found) for name, found in values.items()}
