"""What a configuration costs: by the hour, by the token, by the answer that is good enough; and against hosted models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pennyweight.server.ledger.price_book import MILLION, SECONDS_PER_HOUR, ModelPrice

from .candidate import Candidate
from .demand import Demand


@dataclass(frozen=True)
class Economics:
    """US dollars. ``per_million`` counts input and output tokens alike, those answered from caches among them.

    All at the peak rate, but ``per_million_over_the_day``, which divides by the traffic as it comes and goes while the
    machines stay rented; ``per_accepted`` divides by the answers that kept the SLO and are good enough by the measured
    quality of the quantisation.
    """

    dollars_per_hour: float
    rent_per_hour: float
    per_million: float
    per_million_output: float
    per_million_over_the_day: float
    per_request: float
    per_accepted: float | None
    accepted_share: float


def work_out(candidate: Candidate, replicas: int, demand: Demand, kept_slo: float) -> Economics:
    """The money of a configuration of which the share ``kept_slo`` of the engines' answers kept the SLO."""
    shares, rate = candidate.shares, demand.workload.rate
    rent = float(candidate.offer.dollars(replicas * candidate.tp))
    routed = (1 - shares.response_cache) * shares.route
    hosted = 0.0
    if demand.routed_to is not None:
        hosted = rate * SECONDS_PER_HOUR * routed * hosted_cost(demand.routed_to, demand)
    by_engines = (1 - shares.response_cache) * (1 - shares.route)
    quality = 1.0 if candidate.quantisation.quality is None else candidate.quantisation.quality
    # What the response cache holds was once such an answer; a hosted model's are taken as good and in time.
    accepted = (by_engines * kept_slo + shares.response_cache) * quality + routed
    requests = rate * SECONDS_PER_HOUR
    total = rent + hosted
    mean = sum(demand.rates) / len(demand.rates)
    return Economics(
        dollars_per_hour=total,
        rent_per_hour=rent,
        per_million=total / (requests * demand.tokens_per_request) * MILLION,
        per_million_output=total / (requests * demand.mean_output) * MILLION,
        per_million_over_the_day=(rent / mean + hosted) / (requests * demand.tokens_per_request) * MILLION,
        per_request=total / requests,
        per_accepted=total / (requests * accepted) if accepted else None,
        accepted_share=accepted,
    )


def hosted_cost(price: ModelPrice, demand: Demand) -> float:
    """Dollars of an average request at a hosted model, without a discount for cached input."""
    return (float(price.input) * demand.mean_input + float(price.output) * demand.mean_output) / MILLION


@dataclass(frozen=True)
class BreakEven:
    """Above so many requests an hour a hosted model is dearer than the rent.

    ``share_of_capacity`` is that over what the configuration can take within its SLO: above 1 it never pays. ``hosted_per_hour``
    is what the peak rate would cost there.
    """

    model: str
    requests_per_hour: float
    share_of_capacity: float
    hosted_per_hour: float
    hosted_per_million: float


def break_even(
    economics: Economics, headroom: float, demand: Demand, hosted: Iterable[ModelPrice]
) -> tuple[BreakEven, ...]:
    """For each hosted model, the dearest first."""
    capacity = demand.workload.rate * SECONDS_PER_HOUR * headroom
    found = []
    for price in hosted:
        cost = hosted_cost(price, demand)
        if cost == 0:
            continue
        requests = economics.rent_per_hour / cost
        found.append(
            BreakEven(
                price.id,
                requests,
                requests / capacity if capacity else float("inf"),
                cost * demand.workload.rate * SECONDS_PER_HOUR,
                cost / demand.tokens_per_request * MILLION,
            )
        )
    return tuple(sorted(found, key=lambda one: one.requests_per_hour))
