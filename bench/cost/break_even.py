"""Against what is paid by the hour: what it costs at less than its capacity, and from which load on it beats hosted models."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal

import msgspec

from pennyweight.server.ledger.price_book import ModelPrice

from .account import SECONDS_PER_HOUR, Round

MILLION = 1_000_000


class Capacity(msgspec.Struct, frozen=True):
    """What a configuration did at its fullest: the load's own throughput, for which it is paid ``dollars_per_hour``."""

    dollars_per_hour: Decimal
    requests_per_hour: float
    tokens_per_hour: float  # in and out

    @property
    def tokens_per_request(self) -> float:
        return self.tokens_per_hour / self.requests_per_hour


class LoadLevel(msgspec.Struct, frozen=True):
    """The cost at a given load: of as many machines as it needs, which are paid for also while they wait."""

    requests_per_hour: float
    machines: int
    utilisation: float
    dollars_per_hour: float
    per_request: float
    per_million_total: float


class Mix(msgspec.Struct, frozen=True):
    """The mean request of a workload, in tokens. ``cached_share`` is of the input."""

    input_tokens: float
    output_tokens: float
    cached_share: float = 0.0

    def hosted_cost(self, price: ModelPrice) -> Decimal:
        """Dollars for one such request by a list price."""
        # By million requests, so that means that are no whole numbers keep six decimals.
        tokens = [
            round(one * MILLION)
            for one in (self.input_tokens, self.output_tokens, self.input_tokens * self.cached_share)
        ]
        return price.cost(tokens[0], tokens[1], tokens[2]) / MILLION


class BreakEven(msgspec.Struct, frozen=True):
    """From which load on one machine costs less than a hosted model's list price.

    ``share_of_capacity`` is that load over what the machine can do: above 1 the hosted model is cheaper at any load.
    """

    configuration: str
    model: str
    hosted_per_request: float
    requests_per_hour: float
    tokens_per_hour: float
    share_of_capacity: float


def capacity(rounds: Iterable[Round], dollars_per_hour: Decimal) -> Capacity | None:
    """Over all rounds; None when no request was completed."""
    everything = list(rounds)
    hours = sum(one.seconds for one in everything) / SECONDS_PER_HOUR
    completed = sum(one.completed for one in everything)
    if not (completed and hours):
        return None
    tokens = sum(one.input_tokens + one.output_tokens for one in everything)
    return Capacity(dollars_per_hour, completed / hours, tokens / hours)


def mix(rounds: Iterable[Round]) -> Mix | None:
    """The mean completed request of these rounds; None of none."""
    everything = list(rounds)
    completed = sum(one.completed for one in everything)
    if not completed:
        return None
    input_tokens = sum(one.input_tokens for one in everything)
    output_tokens = sum(one.output_tokens for one in everything)
    cached = sum(one.cached_tokens for one in everything)
    return Mix(input_tokens / completed, output_tokens / completed, cached / input_tokens if input_tokens else 0.0)


def at_load(full: Capacity, requests_per_hour: float) -> LoadLevel:
    """The cost when so many requests come in an hour (more than 0)."""
    machines = max(1, math.ceil(requests_per_hour / full.requests_per_hour))
    dollars = float(full.dollars_per_hour) * machines
    per_request = dollars / requests_per_hour
    return LoadLevel(
        requests_per_hour=requests_per_hour,
        machines=machines,
        utilisation=requests_per_hour / (machines * full.requests_per_hour),
        dollars_per_hour=dollars,
        per_request=per_request,
        per_million_total=per_request / full.tokens_per_request * MILLION,
    )


def break_even(name: str, full: Capacity, request: Mix, models: Iterable[ModelPrice]) -> list[BreakEven]:
    """Against each hosted model, the dearest first; one that is free is left out, since nothing is cheaper."""
    found = []
    for price in models:
        hosted = request.hosted_cost(price)
        if not hosted:
            continue
        requests = float(full.dollars_per_hour / hosted)
        found.append(
            BreakEven(
                configuration=name,
                model=price.id,
                hosted_per_request=float(hosted),
                requests_per_hour=requests,
                tokens_per_hour=requests * (request.input_tokens + request.output_tokens),
                share_of_capacity=requests / full.requests_per_hour,
            )
        )
    return sorted(found, key=lambda one: one.requests_per_hour)
