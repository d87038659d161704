"""One run of loads, watched and kept: what has been measured stays, even if the run is interrupted."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from .choice import Arrivals, trace_rate
from .experiment import Experiment, Point
from .raw import samples_path, write_samples
from .sweep import CAPACITY_CLIENTS, measure_all, sweep_concurrency, sweep_rates
from .view import View, label

INTERRUPTED = "the run was interrupted before its last load"


async def measure(experiment: Experiment, arrivals: Arrivals, view: View, out: Path | None) -> list[Point]:
    """Warm up and measure every load; each one's samples are written to ``out`` as soon as it has ended.

    Cancelled (Ctrl-C) after the first load, it returns those that were measured, the last of them with a complaint. Raises
    BadAnswer, ClientDied, ValueError and OSError.
    """
    points: list[Point] = []
    try:
        if experiment.warmup_requests:
            view.say(f"warming up with {experiment.warmup_requests} requests")
        await experiment.warm_up()
        async with aclosing(_points(experiment, arrivals, view)) as measured:
            async for point in measured:
                if out is not None:
                    await asyncio.to_thread(write_samples, samples_path(out, len(points)), point.samples)
                points.append(point)
                view.say(_said(point))
    except asyncio.CancelledError:
        if not points:
            raise
        points[-1] = dataclasses.replace(points[-1], complaints=(*points[-1].complaints, INTERRUPTED))
    return points


def _points(experiment: Experiment, arrivals: Arrivals, view: View) -> AsyncGenerator[Point]:
    rate = trace_rate(experiment.workload)
    if arrivals.sweep == "rate":
        clients = arrivals.max_concurrency or CAPACITY_CLIENTS
        return sweep_rates(experiment, arrivals.template(rate), view.watch, clients)
    if arrivals.sweep == "concurrency":
        return sweep_concurrency(experiment, view.watch)
    return measure_all(experiment, arrivals.modes(rate), view.watch)


def _said(point: Point) -> str:
    found = point.summary
    return (
        f"{label(point.load)}: {found.completed} done, {found.failed} failed in {found.duration:.1f} s, "
        f"{found.output_throughput:.0f} tokens/s out"
    )
