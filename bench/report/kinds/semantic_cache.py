"""``cache eval``: how often the semantic cache would answer, and how often wrongly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from pennyweight.bench.report.charts import Mark, Series, lines
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import NONE, share, with_interval
from pennyweight.bench.report.stored import StoredResult
from pennyweight.bench.semantic.evaluation import Bounded, Estimate, Evaluation, Point, Row


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "semantic-cache"."""

    evaluation: Evaluation


def tell(stored: StoredResult) -> Story:
    """The story of each bound beside the fixed thresholds."""
    found = msgspec.convert(stored.result.data, Data).evaluation
    return Story(
        title="Answers to what was asked in other words",
        answers=tuple(map(_sentence, found.bounded)),
        key_figures=tuple(
            KeyFigure(f"hits at {_name(one)}", one.policy.hit_rate.value, share, more_is_better=True)
            for one in found.bounded
        ),
        figures=tuple(_figures(found)),
        tables=(_bounds(found), _sweep(found)),
    )


def _sentence(one: Bounded) -> str:
    kept = "kept" if one.is_kept else "not kept"
    static = (
        "no fixed threshold keeps it"
        if one.static is None
        else f"the best fixed threshold that keeps it ({one.static.name}) hits {share(one.static.hit_rate.value)}"
    )
    return (
        f"The bound of {_name(one)} is {kept}: {_percent(one.policy.share(one.over))} are wrong and "
        f"{share(one.policy.hit_rate.value)} of the requests are hits; {static}."
    )


def _figures(found: Evaluation) -> Iterator[Figure]:
    over = [one for one in found.bounded if one.over == "requests"]
    if not over:
        return
    named = [(_name(one), one.policy.along) for one in over]
    yield Figure(
        "wrong",
        "Wrong hits along the stream",
        ", ".join(f"{name}: at last {_percent(along[-1].wrong / along[-1].requests)}" for name, along in named),
        lines(
            [Series(name, _places(along), [100 * at.wrong / at.requests for at in along]) for name, along in named],
            "requests",
            "wrong so far, % of requests",
            linear=True,
            markers=False,
            marks=[Mark(share(bound), y=100 * bound) for bound in sorted({one.bound for one in over})],
        ),
        "Horizontal lines are the bounds.",
    )
    yield Figure(
        "hits",
        "Hits along the stream",
        ", ".join(f"{name}: at last {share(along[-1].hits / along[-1].requests)}" for name, along in named),
        lines(
            [Series(name, _places(along), [100 * at.hits / at.requests for at in along]) for name, along in named],
            "requests",
            "hits so far, %",
            linear=True,
            markers=False,
        ),
        "It begins with none: what is right is learned from answers that were generated.",
    )
    sweep = list(found.sweep.values())
    if sweep:
        yield Figure(
            "thresholds",
            "Hits and wrong hits of each way of deciding",
            "Fixed thresholds from many hits to few, and the policy under each bound.",
            lines(
                [
                    Series("fixed thresholds", *_plane(sweep)),
                    Series("learned", *_plane([one.policy for one in over if not one.strict])),
                    *(
                        [Series("strict", *_plane(strict))]
                        if (strict := [one.policy for one in over if one.strict])
                        else []
                    ),
                ],
                "wrong, % of requests",
                "hits, %",
                linear=True,
            ),
        )


def _bounds(found: Evaluation) -> Table:
    rows = [
        (
            _name(one),
            *_cells(one.policy),
            f"{one.policy.judged:,}",
            NONE if one.static is None else f"{one.static.name}: {share(one.static.hit_rate.value)}",
        )
        for one in found.bounded
    ]
    columns = ("bound on wrong hits", "hits", "wrong, of requests", "wrong, of hits", "judged", "best fixed threshold")
    note = (
        f"{found.requests:,} requests, of which {found.same:,} ask what their partner did. In brackets: 95 % intervals."
    )
    return Table("bounds", "The learned policy under each bound", columns, tuple(rows), note=note)


def _sweep(found: Evaluation) -> Table:
    rows = [
        (row.name, *_cells(row)) for row in (*found.sweep.values(), *([found.characters] if found.characters else []))
    ]
    return Table(
        "sweep", "Fixed thresholds", ("threshold", "hits", "wrong, of requests", "wrong, of hits"), tuple(rows)
    )


def _name(one: Bounded) -> str:
    return f"{share(one.bound)} of {one.over}{', strict' if one.strict else ''}"


def _places(along: Sequence[Point]) -> list[float]:
    return [float(at.requests) for at in along]


def _plane(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    ordered = sorted(rows, key=lambda row: row.wrong_of_requests.value)
    return [100 * row.wrong_of_requests.value for row in ordered], [100 * row.hit_rate.value for row in ordered]


def _cells(row: Row) -> tuple[str, str, str]:
    return _estimate(row.hit_rate), _estimate(row.wrong_of_requests), _estimate(row.wrong_of_hits)


def _estimate(found: Estimate | None) -> str:
    return NONE if found is None else with_interval(found.value, (found.low, found.high), _percent)


def _percent(value: float | None) -> str:
    """To the hundredth: bounds are of a few."""
    return NONE if value is None else f"{100 * value:.2f} %"
