"""What several rounds come to: medians of each row, and how the rows stand to the best of a baseline's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .measure import Measurement

# The measures of which less is better are all but this one.
MORE_IS_BETTER = "output_tokens_per_second"


@dataclass(frozen=True)
class Row:
    """A peer in one configuration: the median of each measure over its rounds that succeeded."""

    peer: str
    variant: str
    rounds: int
    failures: tuple[str, ...]
    medians: Mapping[str, float]
    ratios: Mapping[str, float]  # of each median to the best that any row of the baseline has


def compare(measurements: Sequence[Measurement], baseline: str) -> list[Row]:
    """The rows in the order in which they were first measured; ratios to the peer called ``baseline``, if it was."""
    grouped: dict[tuple[str, str], list[Measurement]] = {}
    for one in measurements:
        grouped.setdefault((one.peer, one.variant), []).append(one)
    medians = {key: _medians(group) for key, group in grouped.items()}
    best = _best([values for (peer, _), values in medians.items() if peer == baseline])
    return [
        Row(
            peer=peer,
            variant=variant,
            rounds=sum(one.failure is None for one in group),
            failures=tuple(one.failure for one in group if one.failure is not None),
            medians=medians[peer, variant],
            ratios={name: value / best[name] for name, value in medians[peer, variant].items() if name in best},
        )
        for (peer, variant), group in grouped.items()
    ]


def measures(one: Measurement) -> dict[str, float]:
    """The numbers of a measurement by name; those of a load carry its concurrency: ``ttft_p50@32``."""
    found: dict[str, float | None] = {
        "seconds_to_ready": one.seconds_to_ready,
        "seconds_to_first_answer": one.seconds_to_first_answer,
        "resident_bytes": one.resident_bytes,
    }
    for load in one.loads:
        found[f"{MORE_IS_BETTER}@{load.concurrency}"] = load.output_tokens_per_second
        found[f"ttft_p50@{load.concurrency}"] = load.ttft_p50
        found[f"tpot_p50@{load.concurrency}"] = load.tpot_p50
    return {name: value for name, value in found.items() if value is not None}


def _medians(group: Sequence[Measurement]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for one in group:
        for name, value in measures(one).items():
            values.setdefault(name, []).append(value)
    return {name: median(found) for name, found in values.items()}


def _best(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The best value of each measure over the rows."""
    best: dict[str, float] = {}
    for row in rows:
        for name, value in row.items():
            choose = max if name.startswith(MORE_IS_BETTER) else min
            best[name] = choose(best.get(name, value), value)
    return best
