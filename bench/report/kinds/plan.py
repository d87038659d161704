"""``pennyweight plan``: what would serve the traffic, ranked by what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pennyweight.bench.report.charts import Interval, bars, ratios, rows_height
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import NONE, dollars, plain, seconds, share
from pennyweight.bench.report.stored import StoredResult

# Configurations that are drawn; the table has all.
DRAWN = 8


class Economics(msgspec.Struct, frozen=True):
    """US dollars; see bench/plan/economics.py."""

    dollars_per_hour: float
    per_million: float
    per_request: float | None = None
    per_accepted: float | None = None


class Configuration(msgspec.Struct, frozen=True):
    """One way to serve the traffic. ``headroom`` is by what factor the traffic can grow, ``percentiles`` are in seconds."""

    offer: str
    economics: Economics
    replicas: int = 1
    tp: int = 1
    quantisation: str = ""
    headroom: float | None = None
    busy: float | None = None
    percentiles: Mapping[str, float] = {}

    @property
    def name(self) -> str:
        parallel = f", TP {self.tp}" if self.tp > 1 else ""
        return f"{self.replicas} × {self.offer}{parallel} {self.quantisation}".strip()


class Change(msgspec.Struct, frozen=True):
    """What becomes of the first configuration when one input is ``factor`` times what it was."""

    input: str
    factor: float
    headroom: float
    ttft_p99: float | None = None


class BreakEven(msgspec.Struct, frozen=True):
    """From how many requests an hour on the first configuration is cheaper than a hosted model."""

    model: str
    requests_per_hour: float
    share_of_capacity: float | None = None
    hosted_per_hour: float | None = None


class Prediction(msgspec.Struct, frozen=True):
    """A prediction and where the truth lies in 9 of 10 cases."""

    value: float
    low: float
    high: float


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "plan". Raises msgspec.ValidationError where it has none of this."""

    configurations: tuple[Configuration, ...]
    break_even: tuple[BreakEven, ...] = ()
    sensitivity: tuple[Change, ...] = ()
    intervals: Mapping[str, Prediction] = {}
    calibration: Mapping[str, Any] | None = None


def tell(stored: StoredResult) -> Story:
    """The story of a plan."""
    data = msgspec.convert(stored.result.data, Data, strict=False)
    if not data.configurations:
        return Story("What to rent", answers=("No configuration serves this traffic within its objective.",))
    best = data.configurations[0]
    figures = [*_prices(data.configurations), *_sensitivity(data.sensitivity)]
    return Story(
        title="What to rent",
        answers=tuple(_answers(data, best)),
        key_figures=(
            KeyFigure("$ an hour", best.economics.dollars_per_hour, dollars, more_is_better=False),
            KeyFigure("$/M tokens", best.economics.per_million, dollars, more_is_better=False),
        ),
        figures=tuple(figures),
        tables=tuple(_tables(data)),
    )


def _answers(data: Data, best: Configuration) -> list[str]:
    money = best.economics
    found = [
        f"Cheapest is {best.name}: {dollars(money.dollars_per_hour)} an hour, {dollars(money.per_million)} per million tokens."
    ]
    if best.headroom is not None:
        found.append(f"The traffic can grow to {plain(best.headroom)} times what it is before the objective breaks.")
    if data.break_even:
        soonest = min(data.break_even, key=lambda one: one.requests_per_hour)
        found.append(f"Against {soonest.model} it pays from {plain(soonest.requests_per_hour)} requests an hour on.")
    if data.calibration is None:
        found.append(
            "The model behind this was not calibrated on a measurement: take the figures for a first estimate."
        )
    return found


def _prices(configurations: Sequence[Configuration]) -> list[Figure]:
    shown = configurations[:DRAWN]
    labels, values = [one.name for one in shown], [one.economics.per_million for one in shown]
    alt = "Dollars per million tokens: " + ", ".join(
        f"{one} {dollars(value)}" for one, value in zip(labels, values, strict=True)
    )
    own = [number == 0 for number in range(len(shown))]
    paint = bars(labels, values, "$ per million tokens", dollars, highlighted=own)
    return [Figure("prices", "The cheapest configurations", alt, paint, height=rows_height(len(shown)))]


def _sensitivity(changes: Sequence[Change]) -> list[Figure]:
    """The span of the headroom over the factors that each input was tried with."""
    spans: dict[str, list[float]] = {}
    for one in changes:
        if one.headroom > 0:
            spans.setdefault(one.input, []).append(one.headroom)
    if not spans:
        return []
    labels = list(spans)
    ends: list[Interval] = [(min(found), max(found)) for found in spans.values()]
    middles = [(low * high) ** 0.5 for low, high in ends]
    alt = "Headroom: " + ", ".join(
        f"{one} {low:.2f} to {high:.2f}" for one, (low, high) in zip(labels, ends, strict=True)
    )
    paint = ratios(labels, middles, ends, "headroom (log); 1 is full")
    title, caption = (
        "What the headroom depends on",
        "Lines span the headroom over the changes of each input; the table has them.",
    )
    return [Figure("sensitivity", title, alt, paint, caption, rows_height(len(labels)) + 0.2)]


def _tables(data: Data) -> list[Table]:
    latencies = list(dict.fromkeys(name for one in data.configurations for name in one.percentiles))
    rows = tuple(
        (
            one.name,
            dollars(one.economics.dollars_per_hour),
            dollars(one.economics.per_million),
            NONE if one.economics.per_accepted is None else dollars(1000 * one.economics.per_accepted),
            NONE if one.headroom is None else f"{one.headroom:.2f}×",
            share(one.busy),
            *(seconds(one.percentiles.get(name)) for name in latencies),
        )
        for one in data.configurations
    )
    columns = ["configuration", "$ an hour", "$/M tokens", "$ per 1,000 accepted", "headroom", "busy"]
    columns += [name.upper().replace("_P", " p") for name in latencies]
    tables = [Table("configurations", "Every configuration that holds the objective", tuple(columns), rows)]
    if data.intervals:
        body = tuple(
            (name.replace("_", " "), plain(one.value), plain(one.low), plain(one.high))
            for name, one in data.intervals.items()
        )
        note = "Of the cheapest configuration; in 9 of 10 cases the truth lies between."
        tables.append(
            Table(
                "intervals",
                "How far the predictions can be trusted",
                ("figure", "predicted", "from", "to"),
                body,
                note=note,
            )
        )
    if data.sensitivity:
        changed = tuple(
            (one.input, f"{one.factor:.2f}×", f"{one.headroom:.2f}×", seconds(one.ttft_p99)) for one in data.sensitivity
        )
        tables.append(
            Table("sensitivity", "What changes when an input does", ("input", "times", "headroom", "TTFT p99"), changed)
        )
    if data.break_even:
        against = tuple(
            (one.model, plain(one.requests_per_hour), share(one.share_of_capacity), dollars(one.hosted_per_hour))
            for one in data.break_even
        )
        head = ("hosted model", "break-even, requests an hour", "of the capacity", "hosted, $ an hour")
        tables.append(Table("break-even", "Against list prices", head, against))
    return tables
