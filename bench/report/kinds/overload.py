"""``bench overload``: what is left of a server's goodput when more comes than it can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pennyweight.bench.report.charts import Mark, Series, lines
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import plain, seconds, share
from pennyweight.bench.report.stored import StoredResult

from .loads import Distribution, Summary, percentile

WITH = "with the limit"
MEBIBYTE = 2**20


class Level(msgspec.Struct, frozen=True):
    """One load on one configuration."""

    configuration: str
    share: float
    rate: float
    summary: Summary = Summary()
    refused: int = 0
    gave_up: int = 0
    refusals: Distribution | None = None


class Configuration(msgspec.Struct, frozen=True):
    """What one configuration came to; ``goodput`` and ``kept`` are pairs of a share of the capacity and a value."""

    name: str
    goodput: Sequence[tuple[float, float]] = ()
    kept: Sequence[tuple[float, float]] = ()
    peak_goodput: float = 0.0
    refusal_p99: float | None = None
    cpu_us_per_refusal: float | None = None
    first_memory: int = 0
    last_memory: int = 0


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "overload". Raises msgspec.ValidationError where it has none of this."""

    capacity: float
    configurations: Sequence[Configuration]
    levels: Sequence[Level]
    memory: Mapping[str, Sequence[tuple[float, int]]] = {}
    model: str = ""
    slo: Mapping[str, Any] | None = None
    shortfalls: Sequence[str] = ()


def tell(stored: StoredResult) -> Story:
    """The story of a server that is asked for more than it can do."""
    data = msgspec.convert(stored.result.data, Data)
    return Story(
        title=f"Overload of {data.model or 'the server'}",
        answers=(*map(_answer, data.configurations), *(f"Not reached: {text}." for text in data.shortfalls)),
        key_figures=_key_figures(data),
        figures=tuple(_figures(data)),
        tables=(_table(data.levels),),
    )


def _answer(one: Configuration) -> str:
    kept = ", ".join(f"{share(value)} at {plain(load)} times" for load, value in one.kept if load > 1)
    text = f"{one.name.capitalize()}: of a peak goodput of {plain(one.peak_goodput)} answers/s, {kept} the capacity was kept"
    if one.refusal_p99 is not None:
        text += f"; refusals took {seconds(one.refusal_p99)} at p99"
    if one.cpu_us_per_refusal is not None:
        text += f" and {plain(one.cpu_us_per_refusal)} µs of CPU each"
    return text + "."


def _key_figures(data: Data) -> tuple[KeyFigure, ...]:
    found = [KeyFigure("capacity, requests/s", data.capacity, plain, more_is_better=True)]
    for one in data.configurations:
        if one.name == WITH:
            found += [
                KeyFigure(f"kept at {load:g} times", value, share, more_is_better=True)
                for load, value in one.kept
                if load in (2.0, 5.0)
            ]
            if one.refusal_p99 is not None:
                found.append(KeyFigure("refusal p99", one.refusal_p99, seconds, more_is_better=False))
    return tuple(found)


def _figures(data: Data) -> list[Figure]:
    names = [one.name for one in data.configurations]
    good = [
        Series(one.name, [load * data.capacity for load, _ in one.goodput], [value for _, value in one.goodput])
        for one in data.configurations
    ]
    shown = "; ".join(f"{one.label} {plain(one.y[0])} to {plain(one.y[-1])}" for one in good if one.y)
    figures = [
        Figure(
            "goodput",
            "Goodput against offered load",
            f"Good answers per second: {shown}.",
            lines(good, "requests/s asked for", "good answers/s", marks=[Mark("capacity", x=data.capacity)]),
        )
    ]
    refusals = [one for name in names if (one := _refusals(data.levels, name)).x]
    if refusals:
        figures.append(
            Figure(
                "refusals",
                "How long a refusal takes",
                "p99 in milliseconds: "
                + "; ".join(f"{one.label} at most {plain(max(one.y))}" for one in refusals)
                + ".",
                lines(refusals, "requests/s asked for", "refusal p99, ms", marks=[Mark("50 ms", y=50.0)]),
            )
        )
    memory = [
        Series(name, [at for at, _ in seen], [found / MEBIBYTE for _, found in seen])
        for name, seen in data.memory.items()
        if seen
    ]
    if memory:
        ends = "; ".join(f"{one.label} {plain(one.y[0])} to {plain(one.y[-1])}" for one in memory)
        figures.append(
            Figure(
                "memory",
                "Memory of the server's own process",
                f"MiB over the run: {ends}.",
                lines(memory, "seconds from the start", "MiB", markers=False),
            )
        )
    return figures


def _refusals(levels: Sequence[Level], name: str) -> Series:
    found = sorted(
        (one.rate, 1000 * p99)
        for one in levels
        if one.configuration == name and (p99 := percentile(one.refusals, "p99")) is not None
    )
    return Series(name, [rate for rate, _ in found], [p99 for _, p99 in found])


def _table(levels: Sequence[Level]) -> Table:
    rows = tuple(
        (
            f"{one.share:g} times",
            one.configuration,
            plain(one.rate),
            plain(one.summary.goodput),
            plain(one.summary.request_throughput),
            f"{one.refused:,}",
            f"{one.gave_up:,}",
            seconds(percentile(one.summary.ttft, "p50")),
            seconds(percentile(one.summary.ttft, "p99")),
            seconds(percentile(one.summary.tpot, "p50")),
            seconds(percentile(one.refusals, "p99")),
            seconds(percentile(one.summary.lag, "p99")),
        )
        for one in sorted(levels, key=lambda level: (level.share, level.configuration))
    )
    columns = ["load", "server", "asked, 1/s", "goodput, 1/s", "answered, 1/s", "refused", "gave up"]
    columns += ["TTFT p50", "TTFT p99", "TPOT p50", "refusal p99", "client's lag p99"]
    return Table("levels", "Every load", tuple(columns), rows)
