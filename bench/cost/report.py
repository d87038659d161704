"""From what was measured to the result's data: costs, waterfall, break-even."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from pennyweight.server.ledger.price_book import ModelPrice

from .account import Round
from .break_even import BreakEven, Capacity, LoadLevel, Mix, at_load, break_even, capacity, mix
from .configuration import Configuration, described
from .estimate import EffectiveCost, Totals, effective_cost, totals
from .measure import Measured
from .savings import Savings
from .waterfall import Step, waterfall

MILLION = 1_000_000
# By how much configurations may differ in the tokens that the same prompts and answers came to.
TOLERANCE = 0.01


class Priced(msgspec.Struct, kw_only=True):
    """One configuration over its rounds; without ``cost`` when none of them succeeded."""

    configuration: Configuration
    measured: list[Measured]
    rounds: list[Round]
    totals: Totals | None = None
    cost: EffectiveCost | None = None
    capacity: Capacity | None = None
    at_load: list[LoadLevel] = msgspec.field(default_factory=list)


class CostReport(msgspec.Struct, kw_only=True):
    """Everything that `bench cost` finds. ``mix`` is the workload's mean request, None when nothing was answered."""

    priced: list[Priced]
    steps: list[Step]
    mix: Mix | None
    break_even: list[BreakEven]
    complaints: tuple[str, ...]
    savings: Savings | None = None

    def data(self) -> dict[str, Any]:
        """The result's."""
        return {
            "savings": self.savings,
            "mix": self.mix,
            "configurations": [_configuration_data(one) for one in self.priced],
            "waterfall": self.steps,
            "break_even": self.break_even,
        }


def make_report(
    configurations: Sequence[Configuration],
    measured: Sequence[Measured],
    models: Sequence[ModelPrice],
    loads: Sequence[float],
    seed: int,
    savings: Savings | None = None,
) -> CostReport:
    """``models`` are those to compare with, ``loads`` the requests per hour for which the cost is wanted as well, ``savings`` what comes
    after the last step."""
    priced = [_priced(one, [each for each in measured if each.name == one.name], loads, seed) for one in configurations]
    request = _mix(priced)
    against: list[BreakEven] = []
    for one in priced:
        if one.capacity is not None and request is not None:
            against += break_even(one.configuration.name, one.capacity, request, models)
    steps = waterfall(
        [(one.configuration.name, one.totals) for one in priced if one.totals and not one.configuration.is_aside]
    )
    complaints = list(_complaints(priced))
    if savings is not None:
        complaints += [f"{savings.result}: {complaint}" for complaint in savings.complaints]
        steps += savings.steps(steps) if steps else []
    return CostReport(
        priced=priced,
        steps=steps,
        mix=request,
        break_even=against,
        complaints=tuple(complaints),
        savings=savings,
    )


def _priced(configuration: Configuration, measured: list[Measured], loads: Sequence[float], seed: int) -> Priced:
    rounds = [one.load for one in measured if one.load is not None]
    found = Priced(configuration=configuration, measured=measured, rounds=rounds)
    if rounds:
        found.totals = totals(rounds, configuration.dollars_per_hour, seed)
        found.cost = effective_cost(found.totals)
        found.capacity = capacity(rounds, configuration.dollars_per_hour)
    if found.capacity is not None:
        found.at_load = [at_load(found.capacity, load) for load in loads]
    return found


def _mix(priced: Sequence[Priced]) -> Mix | None:
    """The first configuration's mean request, with the largest share of cached tokens that any had.

    A provider would read from its cache what one of our configurations could, so hosted models get the benefit.
    """
    mixes = [found for one in priced if (found := mix(one.rounds)) is not None]
    if not mixes:
        return None
    return msgspec.structs.replace(mixes[0], cached_share=max(one.cached_share for one in mixes))


def _complaints(priced: Sequence[Priced]) -> Iterator[str]:
    for one in priced:
        for each in one.measured:
            where = f"{one.configuration.name}, round {each.round + 1}"
            yield from (f"{where}: {complaint}" for complaint in each.complaints)
            if each.failure is not None:
                yield f"{where} failed: {each.failure.splitlines()[0]}"
    asked = {one.configuration.name: found for one in priced if (found := mix(one.rounds)) is not None}
    if not asked:
        return
    (first, wanted), *others = asked.items()
    for name, found in others:
        if abs(found.input_tokens / wanted.input_tokens - 1) > TOLERANCE:
            yield (
                f"{name} counted {found.input_tokens:.0f} input tokens a request where {first} counted "
                f"{wanted.input_tokens:.0f}: they don't do the same work"
            )


def _configuration_data(one: Priced) -> dict[str, Any]:
    return {
        **described(one.configuration),
        "is_aside": one.configuration.is_aside,
        "rounds": [_round_data(each, one.configuration.dollars_per_hour) for each in one.measured],
        "cost": one.cost,
        "capacity": one.capacity
        and {
            "requests_per_hour": one.capacity.requests_per_hour,
            "tokens_per_hour": one.capacity.tokens_per_hour,
        },
        "at_load": one.at_load,
    }


def _round_data(each: Measured, dollars_per_hour: Decimal) -> dict[str, Any]:
    found: dict[str, Any] = {
        "round": each.round,
        "busy_cores_before": each.busy_cores_before,
        "seconds_to_ready": each.seconds_to_ready,
        "summary": each.summary,
        "failure": each.failure,
        "samples": each.raw_file,
    }
    if each.load is not None:
        bill, tokens = each.load.bill(dollars_per_hour), each.load.input_tokens + each.load.output_tokens
        found |= {
            "dollars": float(bill),
            "prefill_share": each.load.prefill_share,
            "accepted": each.load.accepted,
            "dollars_per_million": float(bill) * MILLION / tokens if tokens else None,
        }
    return found
