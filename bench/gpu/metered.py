"""Loads measured with an eye on the device."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pennyweight.bench.load.experiment import Experiment, Point
from pennyweight.bench.load.mode import Mode
from pennyweight.bench.load.progress import OnProgress, Progress
from pennyweight.server.telemetry.gpu.peaks import Peak

from .page import read_page
from .utilisation import Stretch, counts, time_split, utilisation
from .watch import Timeline


@dataclass(frozen=True, kw_only=True)
class MeteredExperiment(Experiment):
    """An Experiment that notes, for each load that it measures, when it ran and what /metrics said before and after."""

    stretches: list[Stretch] = field(default_factory=list)

    async def measure(self, mode: Mode, number: int, on_progress: OnProgress | None = None) -> Point:
        begin = 0.0

        def note(progress: Progress) -> None:
            nonlocal begin
            begin = time.monotonic() - progress.elapsed
            if on_progress is not None:
                on_progress(progress)

        before = await read_page(self.endpoint.url, time.monotonic())
        point = await super().measure(mode, number, note)
        after = await read_page(self.endpoint.url, time.monotonic())
        # The clients' start and end are in none of it: only they know when the load began, and its samples when it ended.
        last = max(sample.ended for sample in point.samples)
        begin = begin or time.monotonic() - last
        self.stretches.append(Stretch(begin, begin + last, before, after))
        return point


@dataclass(frozen=True)
class DevicePoint:
    """A load with how it used the device."""

    point: Point
    utilisation: dict[str, float | None]
    time_split: dict[str, float | None]
    counts: dict[str, float | None]
    dollars_per_million_total: float | None

    def describe(self) -> dict[str, Any]:
        """For the result."""
        return {
            **self.point.describe(),
            "utilisation": self.utilisation,
            "time_split": self.time_split,
            "counts": self.counts,
            "dollars_per_million_total": self.dollars_per_million_total,
        }


def device_points(
    points: Sequence[Point],
    stretches: Sequence[Stretch],
    timeline: Timeline,
    peak: Peak | None,
    precision: str,
    dollars_per_hour: float | None,
) -> list[DevicePoint]:
    """The loads that were measured, with their stretches; one more of these, of a load that was cut off, is left out."""
    found = []
    for point, stretch in zip(points, stretches, strict=False):
        rows = timeline.between(stretch.begin, stretch.end)
        tokens = point.summary.total_throughput
        price = dollars_per_hour / 3600 / tokens * 1e6 if dollars_per_hour is not None and tokens else None
        used = utilisation(stretch, rows, point.samples, peak, precision)
        found.append(DevicePoint(point, used, time_split(stretch), counts(stretch), price))
    return found
