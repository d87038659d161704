"""A plan: the search's configurations, and of the best one how far it can be trusted and what it compares with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pennyweight.server.errors import ConfigError
from pennyweight.server.ledger.price_book import ModelPrice

from .calibration import Calibration
from .candidate import Candidate, Service, make_service
from .demand import Demand
from .economics import BreakEven, break_even
from .model_shape import ModelShape
from .search import Configuration, Found, Space, search
from .step_model import DEFAULTS, StepParameters
from .uncertainty import Change, Interval, parameters_for, prediction_intervals, sensitivity

# The rate that so many of 100 times of the day are below; the very least is often an outage.
TROUGH_PERCENT = 5


@dataclass(frozen=True)
class Use:
    """How full a configuration is: ``of_capacity`` is the rate over the highest that keeps the SLO, ``busy`` the share of the time
    with a step under way."""

    relative_rate: float
    of_capacity: float
    busy: float


@dataclass(frozen=True)
class Plan:
    """``headroom`` is, for each configuration, by what factor the rate can grow. The rest is about the first one."""

    found: Found
    headroom: tuple[float, ...]
    peak: Use
    trough: Use | None
    break_even: tuple[BreakEven, ...]
    intervals: dict[str, Interval]
    sensitivity: tuple[Change, ...]
    calibration: Calibration | None

    def data(self) -> dict[str, Any]:
        """What the result keeps, ready for JSON."""
        return {
            "configurations": [
                {**_described(one), "headroom": headroom}
                for one, headroom in zip(self.found.configurations, self.headroom, strict=True)
            ],
            "rejected": [{**_named(one.candidate), "reason": one.reason} for one in self.found.rejected],
            "passed_over": self.found.passed_over,
            "use": {"peak": self.peak, "trough": self.trough},
            "break_even": self.break_even,
            "intervals": self.intervals,
            "sensitivity": self.sensitivity,
            "calibration": self.calibration,
        }


def make_plan(
    space: Space,
    demand: Demand,
    shape: ModelShape,
    calibration: Calibration | None,
    hosted: Iterable[ModelPrice],
    *,
    keep: int,
    seed: int,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Plan:
    """Raises ConfigError when nothing keeps the SLO, with what comes nearest."""

    def parameters_of(candidate: Candidate) -> StepParameters:
        kind = candidate.offer.device.kind
        return parameters_for(calibration, kind, DEFAULTS[kind])

    found = search(
        space, demand, shape, parameters_of, keep=keep, on_progress=lambda *at: on_progress("searching", *at)
    )
    if not found.configurations:
        raise ConfigError(_why_none(found))

    def service_of(configuration: Configuration, parameters: StepParameters, asked: Demand) -> Service:
        return make_service(configuration.candidate, asked, shape, parameters)

    headroom = []
    for done, one in enumerate(found.configurations):
        on_progress("headroom", done, len(found.configurations))
        headroom.append(service_of(one, parameters_of(one.candidate), demand).headroom(one.replicas))
    best = found.configurations[0]
    parameters = parameters_of(best.candidate)
    trough = None
    if (low := float(np.percentile(demand.rates, TROUGH_PERCENT))) < 1:
        # At some hours nobody asks for anything: then nothing is busy.
        outcome = service_of(best, parameters, demand).outcome(best.replicas, low) if low > 0 else None
        trough = Use(low, low / headroom[0], outcome.busy if outcome is not None else 0.0)
    on_progress("uncertainty", 0, 2)
    intervals = prediction_intervals(best, demand, service_of, calibration, headroom[0], seed)
    on_progress("uncertainty", 1, 2)
    changes = sensitivity(best, demand, service_of, parameters)
    on_progress("uncertainty", 2, 2)
    return Plan(
        found=found,
        headroom=tuple(headroom),
        peak=Use(1.0, 1 / headroom[0], best.busy),
        trough=trough,
        break_even=break_even(best.economics, headroom[0], demand, hosted),
        intervals=intervals,
        sensitivity=changes,
        calibration=calibration,
    )


def _why_none(found: Found) -> str:
    fitting = [one for one in found.rejected if not one.missing]
    if fitting:
        nearest = fitting[-1]
        return f"no configuration keeps the SLO; {_label(nearest.candidate)}: {nearest.reason}"
    if found.rejected:
        return f"the model fits nowhere: {found.rejected[-1].reason}"
    return "there is nothing to try: no tensor parallelism of those given divides the model's heads"


def _label(candidate: Candidate) -> str:
    return f"{candidate.tp} x {candidate.offer.name} in {candidate.quantisation.name}"


def _named(candidate: Candidate) -> dict[str, Any]:
    return {
        "offer": candidate.offer.name,
        "device": candidate.offer.device.name,
        "tp": candidate.tp,
        "quantisation": candidate.quantisation.name,
        "quality": candidate.quantisation.quality,
        "max_num_seqs": candidate.max_num_seqs,
        "max_num_batched_tokens": candidate.max_num_batched_tokens,
        "shares": candidate.shares,
    }


def _described(one: Configuration) -> dict[str, Any]:
    return {
        **_named(one.candidate),
        "replicas": one.replicas,
        "devices": one.devices,
        "kv_tokens": one.kv_tokens,
        "economics": one.economics,
        "percentiles": one.percentiles,
        "busy": one.busy,
        "peak_running": one.peak_running,
        "peak_kv_use": one.peak_kv_use,
        "preemptions": one.preemptions,
    }
