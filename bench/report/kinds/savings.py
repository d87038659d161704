"""``bench savings``: what the response cache and the router save of an accepted answer's cost, by token prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec

from pennyweight.bench.report.charts import rows_height, waterfall
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import (
    NONE,
    dollars,
    microseconds,
    plain,
    seconds,
    share,
    times,
    with_interval,
)
from pennyweight.bench.report.stored import StoredResult

THOUSAND = 1000


class Estimate(msgspec.Struct, frozen=True):
    """A value, with a 95 % interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    def interval(self, scale: float = 1.0) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (scale * self.low, scale * self.high)


class Cost(msgspec.Struct, frozen=True):
    """A step at a repeat share."""

    step: str
    repeat_share: float
    requests: int
    accepted: int
    free_share: float
    cheap_share: float
    dear_share: float
    per_accepted: Estimate | None = None
    times_cheaper: Estimate | None = None
    same_share: float | None = None
    likeness: float | None = None


class Waited(msgspec.Struct, frozen=True):
    """What its clients waited, and what the machine computed."""

    step: str
    repeat_share: float
    ttft_p50: float | None = None
    e2e_p50: float | None = None
    e2e_p99: float | None = None
    cpu_seconds_per_accepted: float | None = None


class Hits(msgspec.Struct, frozen=True):
    """What hits take."""

    cpu_microseconds: float
    e2e_p50: float


class Price(msgspec.Struct, frozen=True):
    """Of a million tokens."""

    id: str
    input: float
    output: float


class Policy(msgspec.Struct, frozen=True):
    """The router's."""

    name: str
    strong_share: float


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "savings"."""

    prices: Mapping[str, Price]
    policy: Policy
    costs: tuple[Cost, ...]
    waited: tuple[Waited, ...] = ()
    hits: tuple[Hits, ...] = ()


def tell(stored: StoredResult) -> Story:
    """The story of what answers cost with cache and router, and without."""
    # Exact prices are decimals, which JSON has as text.
    data = msgspec.convert(stored.result.data, Data, strict=False)
    shares = list(dict.fromkeys(one.repeat_share for one in data.costs))
    by_share = {found: [one for one in data.costs if one.repeat_share == found] for found in shares}
    return Story(
        title="What cache and router save",
        answers=tuple(_answers(data, by_share)),
        key_figures=tuple(
            KeyFigure(f"times cheaper, {share(found)} repeats", steps[-1].times_cheaper.value, times, True)
            for found, steps in by_share.items()
            if steps[-1].times_cheaper is not None
        ),
        figures=tuple(figure for found, steps in by_share.items() for figure in _figures(found, steps)),
        tables=(_costs(data.costs), *_waited(data.waited)),
    )


def _answers(data: Data, by_share: Mapping[float, Sequence[Cost]]) -> list[str]:
    found = [
        f"{share(repeats)} repeats: with {last.step} an accepted answer costs {plain(last.times_cheaper.value)} times less "
        f"({_interval(last.times_cheaper)}) than with everything off; the response cache gave "
        f"{share(last.free_share)} of the answers, the cheap tier {share(last.cheap_share)}, the dear {share(last.dear_share)}."
        for repeats, steps in by_share.items()
        if (last := steps[-1]).times_cheaper is not None
    ]
    cheap, dear = data.prices["cheap"], data.prices["dear"]
    found.append(
        f"Prices are those of {cheap.id} ({dollars(cheap.input)} in, {dollars(cheap.output)} out, a million tokens) and {dear.id} "
        f"({dollars(dear.input)}, {dollars(dear.output)}); the policy {data.policy.name} was set to give the dear tier "
        f"{share(data.policy.strong_share)} of other prompts. Both tiers are one model in two precisions, so that nothing here "
        "is said about a better model's answers."
    )
    if data.hits:
        cpu, wait = median(one.cpu_microseconds for one in data.hits), median(one.e2e_p50 for one in data.hits)
        found.append(f"A hit, which costs no tokens, took {microseconds(cpu)} of CPU and {seconds(wait)} to be read.")
    return found


def _figures(repeats: float, steps: Sequence[Cost]) -> list[Figure]:
    known = [(one.step, THOUSAND * one.per_accepted.value) for one in steps if one.per_accepted is not None]
    if len(known) < 2:
        return []
    first = known[0][1]
    # Each against the first: cache and router are alternatives before they are both.
    shown = [(name, first if place else 0.0, value) for place, (name, value) in enumerate(known)]
    alt = "Dollars per 1,000 accepted answers: " + ", ".join(f"{name} {dollars(value)}" for name, value in known) + "."
    return [
        Figure(
            f"savings-{round(100 * repeats)}",
            f"What each step saves at {share(repeats)} repeats",
            alt,
            waterfall(shown, "$ per 1,000 accepted answers", dollars),
            "Each step against everything off.",
            rows_height(len(known)),
        )
    ]


def _costs(costs: Sequence[Cost]) -> Table:
    rows = tuple(
        (
            share(one.repeat_share),
            one.step,
            NONE
            if one.per_accepted is None
            else with_interval(THOUSAND * one.per_accepted.value, one.per_accepted.interval(THOUSAND), dollars),
            NONE if one.times_cheaper is None else with_interval(one.times_cheaper.value, one.times_cheaper.interval()),
            f"{one.accepted:,} of {one.requests:,}",
            share(one.free_share),
            share(one.cheap_share),
            share(one.dear_share),
            share(one.same_share),
            plain(one.likeness),
        )
        for one in costs
    )
    columns = (
        "repeats",
        "step",
        "$ per 1,000 accepted answers",
        "times cheaper",
        "accepted",
        "from the cache",
        "cheap tier",
        "dear tier",
        "same words as dear",
        "ROUGE-L",
    )
    note = "In brackets, 95 % intervals. How far the dear tier repeats its own words in other company, the steps without the router show."
    return Table("savings", "Every step", columns, rows, text_columns=2, note=note)


def _waited(waited: Sequence[Waited]) -> list[Table]:
    if not waited:
        return []
    rows = tuple(
        (
            share(one.repeat_share),
            one.step,
            seconds(one.ttft_p50),
            seconds(one.e2e_p50),
            seconds(one.e2e_p99),
            seconds(one.cpu_seconds_per_accepted),
        )
        for one in waited
    )
    columns = ("repeats", "step", "TTFT p50", "E2E p50", "E2E p99", "CPU per accepted answer")
    return [Table("waited", "What clients waited and the machine computed", columns, rows, text_columns=2)]


def _interval(one: Estimate) -> str:
    interval = one.interval()
    return NONE if interval is None else f"{plain(interval[0])} to {plain(interval[1])}"
