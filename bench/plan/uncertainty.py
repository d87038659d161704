"""How far a plan can be trusted: what other parameters and other inputs would have made of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pennyweight.server.ledger.price_book import MILLION, SECONDS_PER_HOUR

from .calibration import Calibration, uncalibrated_draw
from .candidate import Service, percentiles
from .demand import Demand
from .search import Configuration
from .step_model import StepParameters, scaled

# Draws of the parameters; their spread is all that is asked of them.
DRAWS = 12
# Of a normal distribution: 90 % lie within so many deviations; the median of absolute deviations is the deviation times the other.
DEVIATIONS_OF_90_PERCENT = 1.645
MEDIAN_ABSOLUTE = 0.6745
# What the sensitivity changes, by how much.
CHANGE = 0.2
LEAST_SECONDS = 1e-6

MakeService = Callable[[Configuration, StepParameters, Demand], Service]


@dataclass(frozen=True)
class Interval:
    """A prediction and where the truth lies in 9 of 10 cases, as far as the model's own uncertainty goes."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Change:
    """What becomes of a configuration when one input is ``factor`` times what it was.

    ``per_million_at_limit`` is $ for a million tokens at the highest rate that keeps the SLO.
    """

    input: str
    factor: float
    headroom: float
    ttft_p99: float
    per_million_at_limit: float | None


def parameters_for(calibration: Calibration | None, kind: str, default: StepParameters) -> StepParameters:
    """A calibration's parameters for its kind of device, the defaults for another."""
    return calibration.parameters if calibration is not None and calibration.kind == kind else default


def prediction_intervals(
    configuration: Configuration,
    demand: Demand,
    make_service: MakeService,
    calibration: Calibration | None,
    headroom: float,
    seed: int,
) -> dict[str, Interval]:
    """Intervals of the percentiles and the headroom: the parameters' uncertainty, and beside it the model's measured error."""
    kind = configuration.candidate.offer.device.kind
    generator = np.random.default_rng(seed)
    is_calibrated = calibration is not None and calibration.kind == kind
    drawn: dict[str, list[float]] = {}
    for _ in range(DRAWS):
        parameters = (
            calibration.drawn(generator)
            if calibration is not None and is_calibrated
            else uncalibrated_draw(kind, generator)
        )
        service = make_service(configuration, parameters, demand)
        found = percentiles(service.outcome(configuration.replicas), demand.slo)
        found["headroom"] = service.headroom(configuration.replicas, precision=0.1)
        for name, value in found.items():
            drawn.setdefault(name, []).append(math.log(max(value, LEAST_SECONDS)))
    errors = calibration.errors if calibration is not None and is_calibrated else {}
    values = {**configuration.percentiles, "headroom": headroom}
    return {
        name: _interval(value, float(np.std(drawn[name])), _error_of(name, errors))
        for name, value in values.items()
        if value > 0
    }


def sensitivity(
    configuration: Configuration, demand: Demand, make_service: MakeService, parameters: StepParameters
) -> tuple[Change, ...]:
    """Each input changed by itself, down and up. The price of a device changes no figure but the cost, in proportion."""
    changes = []
    for factor in (1 - CHANGE, 1 + CHANGE):
        for name, service, changed in _changed(configuration, demand, make_service, parameters, factor):
            headroom = service.headroom(configuration.replicas, precision=0.05)
            rate = changed.workload.rate * headroom
            rent = configuration.economics.rent_per_hour * (factor if name == "price" else 1.0)
            tokens = rate * SECONDS_PER_HOUR * changed.tokens_per_request
            changes.append(
                Change(
                    name,
                    factor,
                    headroom,
                    service.outcome(configuration.replicas).percentile("ttft", 99),
                    rent / tokens * MILLION if tokens else None,
                )
            )
    return tuple(changes)


def _changed(
    configuration: Configuration, demand: Demand, make_service: MakeService, parameters: StepParameters, factor: float
) -> Iterator[tuple[str, Service, Demand]]:
    workload = demand.workload
    for name, changed in (
        ("price", workload),
        ("rate", workload.at_rate(workload.rate * factor)),
        ("input length", workload.with_lengths(inputs=factor)),
        ("output length", workload.with_lengths(outputs=factor)),
    ):
        other = dataclasses.replace(demand, workload=changed)
        yield name, make_service(configuration, parameters, other), other
    power = math.log(factor)
    for name, logarithms in (
        ("compute efficiency", {"compute_efficiency": power}),
        ("bandwidth efficiency", {"bandwidth_efficiency": power}),
        ("attention efficiency", {"attention_efficiency": power}),
        ("overheads", {"step_overhead": power, "sequence_overhead": power, "request_overhead": power}),
    ):
        yield name, make_service(configuration, scaled(parameters, logarithms), demand), demand
    service = make_service(configuration, parameters, demand)
    kv_tokens = max(round(service.limits.kv_tokens * factor), workload.longest + service.limits.block_size)
    yield (
        "KV cache",
        dataclasses.replace(service, limits=dataclasses.replace(service.limits, kv_tokens=kv_tokens)),
        demand,
    )


def _interval(value: float, of_parameters: float, median_error: float) -> Interval:
    deviation = math.hypot(of_parameters, math.log1p(median_error) / MEDIAN_ABSOLUTE)
    width = math.exp(DEVIATIONS_OF_90_PERCENT * deviation)
    return Interval(value, value / width, value * width)


def _error_of(name: str, errors: Mapping[str, float]) -> float:
    """The measured error of a metric; that of the nearest one that was measured for the others."""
    if name == "headroom":
        return errors.get("throughput", 0.0)
    metric, _, percent = name.partition("_p")
    tail = "99" if float(percent) > 75 else "50"
    return errors.get(f"{metric}_p{percent}", errors.get(f"ttft_p{tail}" if metric == "ttft" else "tpot_p50", 0.0))
