"""``bench hostile``: what good clients feel of hostile ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import msgspec

from pennyweight.bench.report.charts import bars, ratios, rows_height
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import plain, seconds, times
from pennyweight.bench.report.stored import StoredResult

MEASURES = ("ttft_p50", "ttft_p90", "ttft_p99", "e2e_p50", "e2e_p90", "e2e_p99")


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "hostile". Raises msgspec.ValidationError where it has none of this."""

    all_alone: Mapping[str, float]
    all_attacked: Mapping[str, float]
    alone: Sequence[Mapping[str, float]]
    attacked: Sequence[Mapping[str, float]]
    capacity: float
    good_rate: float
    hostile_rate: float
    hostile_requests: int
    kinds: int
    model: str = ""
    good_requests: int = 0
    good_failures: Sequence[Any] = ()
    complaints: Mapping[str, int] = {}


def tell(stored: StoredResult) -> Story:
    """The story of good traffic beside attacks."""
    data = msgspec.convert(stored.result.data, Data)
    names = [name for name in MEASURES if name in data.all_alone and name in data.all_attacked]
    labels = [name.upper().replace("_P", " p") for name in names]
    rounds = {name: _ratios(data, name) for name in names}
    slower = rounds.get("e2e_p99", [])
    wrong = sum(data.complaints.values())
    answers = [
        f"While {data.hostile_requests:,} hostile requests of {data.kinds} kinds came in at {plain(data.hostile_rate)} a second, "
        f"{len(data.good_failures):,} of {data.good_requests:,} good requests failed, at {plain(data.good_rate)} a second "
        f"of a capacity of {plain(data.capacity)}.",
        f"{wrong:,} hostile requests were answered wrongly."
        if wrong
        else "Every hostile request was answered as it should be.",
    ]
    if slower:
        answers.insert(1, f"Good answers took {times(median(slower))} as long at p99 (median of {len(slower)} rounds).")
    figures = []
    if all(rounds.values()) and rounds:
        middles = [median(found) for found in rounds.values()]
        figures.append(
            Figure(
                "slowdown",
                "How much slower good requests are while attacked",
                "Ratios attacked to alone: "
                + ", ".join(f"{label} {value:.2f}" for label, value in zip(labels, middles, strict=True)),
                ratios(
                    labels, middles, [(min(found), max(found)) for found in rounds.values()], "attacked / alone (log)"
                ),
                "Medians of the rounds' ratios; lines from the least to the most.",
                height=rows_height(len(names)) + 0.2,
            )
        )
    if data.complaints:
        kinds, counts = list(data.complaints), [float(count) for count in data.complaints.values()]
        alt = "Wrong answers: " + ", ".join(f"{kind} {count:.0f}" for kind, count in zip(kinds, counts, strict=True))
        paint = bars(kinds, counts, "requests", plain)
        figures.append(Figure("wrong", "Hostile requests answered wrongly", alt, paint, height=rows_height(len(kinds))))
    return Story(
        title="Good clients beside hostile ones",
        answers=tuple(answers),
        key_figures=(
            KeyFigure("E2E p99 alone", data.all_alone["e2e_p99"], seconds, more_is_better=False),
            KeyFigure("E2E p99 attacked", data.all_attacked["e2e_p99"], seconds, more_is_better=False),
            KeyFigure("capacity, requests/s", data.capacity, plain, more_is_better=True),
        ),
        figures=tuple(figures),
        tables=(_table(data, names, labels, rounds),),
    )


def _ratios(data: Data, name: str) -> list[float]:
    """Attacked to alone, of each round."""
    pairs = zip(data.alone, data.attacked, strict=False)
    return [two[name] / one[name] for one, two in pairs if one.get(name) and name in two]


def _table(data: Data, names: Sequence[str], labels: Sequence[str], rounds: Mapping[str, Sequence[float]]) -> Table:
    rows = tuple(
        (
            label,
            seconds(data.all_alone[name]),
            seconds(data.all_attacked[name]),
            times(data.all_attacked[name] / data.all_alone[name]),
            ", ".join(f"{ratio:.2f}" for ratio in rounds[name]),
        )
        for name, label in zip(names, labels, strict=True)
    )
    return Table("good", "Good requests", ("latency", "alone", "attacked", "ratio", "of each round"), rows)
