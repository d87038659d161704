"""``bench cost``: what tokens cost in each configuration, what each step saved, and when an own machine pays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from pennyweight.bench.report.charts import Interval, Mark, Series, bars, lines, rows_height, waterfall
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import NONE, dollars, plain, share, with_interval
from pennyweight.bench.report.stored import StoredResult

COSTS = {
    "per_million_input": "$/M input",
    "per_million_output": "$/M output",
    "per_million_total": "$/M tokens",
    "per_request": "$ per 1,000 requests",
    "per_accepted": "$ per 1,000 accepted answers",
}
# Of so many: a single request costs too little to be read.
SCALES = {"per_request": 1000.0, "per_accepted": 1000.0}
MAIN = "per_million_total"
# Lines of hosted models in the plot of break-evens; the table has all.
HOSTED = 5


class Estimate(msgspec.Struct, frozen=True):
    """US dollars, with a 95 % interval."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> Interval | None:
        return None if self.low is None or self.high is None else (self.low, self.high)


class Configuration(msgspec.Struct, frozen=True):
    """A way to serve the workload, and what that costs."""

    name: str
    dollars_per_hour: float
    cost: Mapping[str, Estimate | None] = {}


class Step(msgspec.Struct, frozen=True):
    """A step of the waterfall: the price after it, and what it saved of the price before. ``basis`` is what it was reckoned from, None
    where it was measured."""

    name: str
    dollars_per_million: float
    saved: float | None = None
    basis: str | None = None


class Savings(msgspec.Struct, frozen=True):
    """What steps were reckoned from: a result of ``bench savings``, by the list prices of these models' tokens."""

    result: str
    prices: tuple[str, str]


class BreakEven(msgspec.Struct, frozen=True):
    """From how many requests an hour on a configuration's machine is cheaper than a hosted model.

    ``share_of_capacity`` is that over what the machine can do: above 1 it never is.
    """

    model: str
    requests_per_hour: float
    configuration: str = ""
    share_of_capacity: float = 0.0

    @property
    def is_reached(self) -> bool:
        return self.share_of_capacity <= 1


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "cost". Raises msgspec.ValidationError where it has none of this."""

    configurations: tuple[Configuration, ...]
    waterfall: tuple[Step, ...] = ()
    savings: Savings | None = None
    break_even: tuple[BreakEven, ...] = ()


def tell(stored: StoredResult) -> Story:
    """The story of what tokens cost."""
    # Exact prices are decimals, which JSON has as text.
    data = msgspec.convert(stored.result.data, Data, strict=False)
    known = [one for one in data.configurations if one.cost.get(MAIN)]
    cheapest = min(known, key=lambda one: price(one).value) if known else None
    hosted = [one for one in data.break_even if cheapest is not None and one.configuration in ("", cheapest.name)]
    return Story(
        title="What tokens cost",
        answers=tuple(_answers(data, known, cheapest, hosted)),
        key_figures=tuple(
            KeyFigure(f"{one.name}: $/M tokens", price(one).value, dollars, more_is_better=False) for one in known
        ),
        figures=(*_waterfall(data.waterfall), *_prices(known, cheapest), *_break_even(hosted, cheapest)),
        tables=(_table(data.configurations), *_hosted(hosted)),
    )


def price(configuration: Configuration) -> Estimate:
    """Dollars per million tokens of a configuration that has the estimate."""
    found = configuration.cost[MAIN]
    assert found is not None  # the caller has seen that it is there
    return found


def _answers(
    data: Data, known: Sequence[Configuration], cheapest: Configuration | None, hosted: Sequence[BreakEven]
) -> list[str]:
    if cheapest is None:
        return ["No configuration's cost is known."]
    found = [
        f"A million tokens cost {_estimate(price(cheapest))} with {cheapest.name}, "
        f"on a machine of {dollars(cheapest.dollars_per_hour)} an hour."
    ]
    first = known[0]
    if first is not cheapest:
        saved = 1 - price(cheapest).value / price(first).value
        found.append(f"With {first.name} they cost {_estimate(price(first))}: {share(saved)} less, then.")
    reckoned = [one for one in data.waterfall if one.basis is not None]
    if reckoned and data.savings is not None:
        steps = ", then ".join(f"{one.name} ({one.basis}) {dollars(one.dollars_per_million)}" for one in reckoned)
        found.append(
            f"Not measured on these machines, but reckoned on from the last step by the prices of {' and '.join(data.savings.prices)}: {steps}."
        )
    largest = max(
        (one for one in data.waterfall if one.saved is not None and one.basis is None),
        key=lambda one: one.saved or 0,
        default=None,
    )
    if largest is not None and (largest.saved or 0) > 0:
        found.append(f"The largest saving is that of {largest.name}: {dollars(largest.saved)} a million.")
    reached = [one for one in hosted if one.is_reached]
    if reached:
        soonest = min(reached, key=lambda one: one.requests_per_hour)
        found.append(
            f"Against the list price of {soonest.model} that machine pays from {plain(soonest.requests_per_hour)} requests "
            f"an hour on; of {len(hosted)} list prices it beats {len(reached)} at some load."
        )
    elif hosted:
        found.append("At this workload the machine beats none of the list prices, however full it is.")
    return found


def _waterfall(steps: Sequence[Step]) -> list[Figure]:
    if len(steps) < 2:
        return []
    before = 0.0
    shown = []
    for one in steps:
        shown.append((one.name if one.basis is None else f"{one.name} (reckoned)", before, one.dollars_per_million))
        before = one.dollars_per_million
    alt = "Dollars per million tokens after each step: " + ", ".join(
        f"{one.name} {dollars(one.dollars_per_million)}" for one in steps
    )
    paint = waterfall(shown, "$ per million tokens", dollars)
    title = f"What each step saves: from {dollars(steps[0].dollars_per_million)} to {dollars(steps[-1].dollars_per_million)} a million"
    return [Figure("waterfall", title, alt + ".", paint, height=rows_height(len(steps)))]


def _prices(known: Sequence[Configuration], cheapest: Configuration | None) -> list[Figure]:
    if not known:
        return []
    labels, values = [one.name for one in known], [price(one).value for one in known]
    alt = "Dollars per million tokens: " + ", ".join(f"{one.name} {_estimate(price(one))}" for one in known) + "."
    own = [one is cheapest for one in known]
    intervals = [price(one).interval for one in known]
    paint = bars(labels, values, "$ per million tokens", dollars, intervals=intervals, highlighted=own)
    title, caption = "Dollars per million tokens, in and out together", "Lines are 95 % intervals."
    return [Figure("prices", title, alt, paint, caption, rows_height(len(labels)))]


def _break_even(hosted: Sequence[BreakEven], cheapest: Configuration | None) -> list[Figure]:
    """The own machine's price an hour is the same at every load; the hosted ones' grow with it, and meet it at the break-even."""
    reached = sorted((one for one in hosted if one.is_reached), key=lambda one: one.requests_per_hour)[:HOSTED]
    if cheapest is None or not reached:
        return []
    own = cheapest.dollars_per_hour
    end = 1.25 * max(one.requests_per_hour for one in reached)
    series = []
    for one in reached:
        a_request = own / one.requests_per_hour
        until = min(end, 2 * own / a_request)
        series.append(Series(one.model, [0.0, until], [0.0, until * a_request]))
    alt = (
        "Break-even, in requests an hour: "
        + ", ".join(f"{one.model} {plain(one.requests_per_hour)}" for one in reached)
        + "."
    )
    paint = lines(
        series, "requests an hour", "$ an hour", marks=[Mark("own machine", y=own)], linear=True, markers=False
    )
    caption = "Left of where a hosted model's line meets that of the own machine, the hosted model is cheaper; right of it, the machine is."
    return [Figure("break-even", "From which load on an own machine pays", alt, paint, caption, height=3.4)]


def _table(configurations: Sequence[Configuration]) -> Table:
    names = [name for name in COSTS if any(one.cost.get(name) for one in configurations)]
    rows = []
    for one in configurations:
        cells = [_estimate(found, SCALES.get(name, 1.0)) if (found := one.cost.get(name)) else NONE for name in names]
        rows.append((one.name, dollars(one.dollars_per_hour), *cells))
    columns = ("configuration", "$ an hour", *(COSTS[name] for name in names))
    return Table("configurations", "Every configuration", columns, tuple(rows), note="In brackets, 95 % intervals.")


def _hosted(hosted: Sequence[BreakEven]) -> list[Table]:
    if not hosted:
        return []
    rows = tuple(
        (
            one.model,
            one.configuration,
            plain(one.requests_per_hour),
            share(one.share_of_capacity) if one.is_reached else "never",
        )
        for one in hosted
    )
    columns = ("hosted model", "against", "break-even, requests an hour", "of the capacity")
    return [Table("break-even", "Against list prices", columns, rows, text_columns=2)]


def _estimate(found: Estimate, scale: float = 1.0) -> str:
    interval = found.interval and (scale * found.interval[0], scale * found.interval[1])
    return with_interval(scale * found.value, interval, dollars)
