"""Which loads are measured: those that were asked for, or those that find the saturation by themselves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import msgspec

from .experiment import Experiment, Point
from .knee import find_knee
from .mode import ClosedLoop, Mode, OpenLoop
from .progress import OnProgress

# Of the capacity that a closed loop shows.
RATE_SHARES = (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1)
CAPACITY_CLIENTS = 64
# A doubled concurrency that brings less than that has met the saturation.
LEAST_GAIN = 1.05
MOST_CLIENTS = 1024
METHOD = "Kneedle"

Watch = Callable[[Mode], OnProgress | None]


async def measure_all(experiment: Experiment, modes: Sequence[Mode], watch: Watch) -> AsyncGenerator[Point]:
    """Each load in turn."""
    for number, mode in enumerate(modes):
        yield await experiment.measure(mode, number, watch(mode))


async def sweep_rates(
    experiment: Experiment, template: OpenLoop, watch: Watch, clients: int = CAPACITY_CLIENTS
) -> AsyncGenerator[Point]:
    """A closed loop of ``clients``, whose throughput is taken for the capacity, and then open loops at shares of it.

    GuideLLM's sweep goes the same way: the throughput of a full server bounds the rates in between.
    """
    full = await experiment.measure(ClosedLoop(clients), 0, watch(ClosedLoop(clients)))
    yield full
    capacity = full.summary.request_throughput
    if not capacity:
        raise ValueError(f"no request of the first load succeeded: {'; '.join(full.complaints)}")
    for number, share in enumerate(RATE_SHARES, 1):
        mode = msgspec.structs.replace(template, rate=capacity * share)
        yield await experiment.measure(mode, number, watch(mode))


async def sweep_concurrency(experiment: Experiment, watch: Watch) -> AsyncGenerator[Point]:
    """Closed loops of 1, 2, 4, ... clients until twice as many bring less than ``LEAST_GAIN`` times the tokens."""
    before, clients = 0.0, 1
    while clients <= MOST_CLIENTS:
        point = await experiment.measure(ClosedLoop(clients), clients.bit_length() - 1, watch(ClosedLoop(clients)))
        yield point
        now = point.summary.output_throughput
        if now < before * LEAST_GAIN:
            return
        before, clients = now, clients * 2


def knee_of(points: Sequence[Point]) -> dict[str, Any] | None:
    """Where the loads of a sweep begin to bring little more: goodput where there is an SLO, otherwise requests per second in
    an open loop and output tokens per second in a closed one. None where there is no such load, or loads of two kinds.
    """
    open_loops = [point for point in points if isinstance(point.load, OpenLoop)]
    chosen = open_loops or list(points)
    has_slo = all(point.summary.goodput is not None for point in chosen)
    measure = "goodput" if has_slo else "request_throughput" if open_loops else "output_throughput"
    values = {_load(point.load): float(getattr(point.summary, measure)) for point in chosen}
    loads = sorted(values)
    found = find_knee(loads, [values[load] for load in loads])
    if found is None:
        return None
    point = next(point for point in chosen if _load(point.load) == loads[found])
    return {
        "method": METHOD,
        "measure": measure,
        "load": point.load,
        "point": points.index(point),
        "value": values[loads[found]],
    }


def _load(mode: Mode) -> float:
    return mode.rate if isinstance(mode, OpenLoop) else mode.concurrency
