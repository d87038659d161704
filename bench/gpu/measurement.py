"""One run of ``bench gpu``: the server found, its peaks known, every load measured with its device watched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pennyweight.bench.load.choice import Arrivals, Source
from pennyweight.bench.load.endpoint import Endpoint
from pennyweight.bench.load.measurement import measure
from pennyweight.bench.load.view import View, label
from pennyweight.bench.machine import busy_cores, this_machine, usable_cores
from pennyweight.server.telemetry.gpu.peaks import Peak

from .metered import DevicePoint, MeteredExperiment, device_points
from .page import MetricsPage, read_page
from .peak import measured_peak, table_peak, with_given
from .server import server_pid
from .watch import Timeline, watching

# In cores: with so much to do beside it, a machine shows less than it can.
BUSY = 0.2
DEFAULT_PRECISION = "bfloat16"
NO_COUNTS = "the server's /metrics counts no FLOPs and bytes, so there is no MFU, MBU or time split"


@dataclass(frozen=True)
class DeviceOptions:
    """What was said about the device on the command line; None where nothing was."""

    pid: int | None = None
    interval: float = 0.5
    precision: str | None = None
    peak_flops: float | None = None
    peak_bandwidth: float | None = None
    dollars_per_hour: float | None = None


@dataclass(frozen=True)
class DeviceRun:
    """What a run gave. ``device`` is its name; ``complaints`` are about the run as a whole."""

    device: str
    precision: str
    peak: Peak | None
    endpoint: dict[str, Any]
    points: Sequence[DevicePoint]
    timeline: Timeline
    notes: Sequence[str]
    complaints: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """The result's data."""
        return {
            **self.endpoint,
            "device": self.device,
            "precision": self.precision,
            "peak": self.peak,
            "points": [point.describe() for point in self.points],
            "timeline": [row.describe(self.timeline.began) for row in self.timeline.rows],
            "notes": list(self.notes),
        }


async def measure_devices(
    find: Callable[[], Awaitable[Endpoint]],
    source: Source,
    arrivals: Arrivals,
    options: DeviceOptions,
    view: View,
    out: Path | None,
    **experiment: Any,
) -> DeviceRun:
    """Measure every load; ``experiment`` is what an Experiment takes beside endpoint, workload and cores.

    Raises BadAnswer, ClientDied, ValueError and OSError.
    """
    endpoint = await find()
    metered = MeteredExperiment(
        endpoint=endpoint, workload=await source.workload(endpoint), cores=usable_cores(), **experiment
    )
    page = await read_page(endpoint.url, time.monotonic())
    pid = options.pid or server_pid(endpoint.url)
    on_cpu = page is not None and (page.label("model_info", "device") or "").startswith("cpu")
    precision = options.precision or (page and page.label("model_info", "dtype")) or DEFAULT_PRECISION
    notes, complaints = _notes(page, pid), list[str]()
    for note in notes:
        view.say(note)
    async with watching(endpoint.url, pid, options.interval, notes.append, on_cpu=on_cpu) as timeline:
        if pid is not None or (page is not None and page.readings()):
            await timeline.until_begun()
        devices = timeline.devices()
        peak = table_peak(devices)
        if pid is not None and not any(one.label.startswith("cuda") for one in devices):
            view.say("measuring what the processors can do")
            busy = await asyncio.to_thread(busy_cores)
            if busy > BUSY:
                complaints.append(f"other work kept {busy:.1f} cores busy while the processors' peaks were measured")
            peak = await measured_peak()
        measured = await measure(metered, arrivals, view, out)
    peak = with_given(peak, precision, options.peak_flops, options.peak_bandwidth)
    points = device_points(measured, metered.stretches, timeline, peak, precision, options.dollars_per_hour)
    return DeviceRun(
        device=", ".join(dict.fromkeys(one.card for one in devices)) or this_machine().cpu,
        precision=precision,
        peak=peak,
        endpoint=metered.describe(),
        points=points,
        timeline=timeline,
        notes=notes,
        complaints=(*complaints, *impossible(points)),
    )


def impossible(points: Sequence[DevicePoint]) -> list[str]:
    """What can't be: shares of a peak above 1, which only a peak that is too low gives."""
    return [
        f"{label(one.point.load)}: {name.upper()} is {share:.2f}, so the peak is too low; give {flag}"
        for one in points
        for name, flag in (("mfu", "--peak-flops"), ("mbu", "--peak-bandwidth"))
        if (share := one.utilisation.get(name)) is not None and share > 1
    ]


def _notes(page: MetricsPage | None, pid: int | None) -> list[str]:
    notes = []
    if page is None or page.total("estimated_flops_per_gpu_total") is None:
        notes.append(NO_COUNTS)
    if pid is None:
        notes.append("the server's process is not on this machine: its devices are known by its /metrics alone")
    return notes
