"""Devices read along a run: here, or as the server's /metrics tells of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pennyweight.server.telemetry.gpu.meter import Device, Reading, Tell
from pennyweight.server.telemetry.gpu.sampler import DeviceSampler, DeviceState
from pennyweight.server.telemetry.gpu.telemetry import open_meters

from .page import read_page
from .server import visible_cards

OPEN_SECONDS = 20.0
# What the result calls the shares that only some devices tell.
ACTIVITY = {
    "sm": "sm_active",
    "occupancy": "sm_occupancy",
    "tensor": "pipe_tensor_active",
    "dram": "dram_active",
    "fp16": "pipe_fp16_active",
    "fp32": "pipe_fp32_active",
    "fp64": "pipe_fp64_active",
}


@dataclass(frozen=True)
class Row:
    """A reading of a device, which a run's timeline consists of."""

    device: Device
    reading: Reading

    @property
    def is_card(self) -> bool:
        return self.device.label.startswith("cuda")

    def values(self) -> dict[str, float]:
        """The shares and numbers that it tells, by the result's names; ``gpu`` or ``cpu`` is how busy it was."""
        one = self.reading
        found = {
            "gpu" if self.is_card else "cpu": one.utilization,
            **{name: one.activity.get(field) for name, field in ACTIVITY.items()},
            "power_watts": one.power,
            "clock_hertz": one.sm_clock,
            "temperature_celsius": one.temperature,
            "memory_used_bytes": one.memory_used,
        }
        return {name: float(value) for name, value in found.items() if value is not None}

    def describe(self, began: float) -> dict[str, Any]:
        """A line of the timeline; ``at`` is in seconds from ``began``."""
        line = {"at": round(self.reading.time - began, 3), "device": self.device.label, **self.values()}
        if self.reading.throttle_reasons:
            line["throttled"] = sorted(self.reading.throttle_reasons)
        return line


@dataclass
class Timeline:
    """All rows so far, in the order of their times."""

    began: float = field(default_factory=time.monotonic)
    rows: list[Row] = field(default_factory=list)

    async def until_begun(self) -> None:
        """Wait for the first row, which comes once the driver is opened; not longer than OPEN_SECONDS."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPEN_SECONDS):
                while not self.rows:  # noqa: ASYNC110 (rows come from a thread)
                    await asyncio.sleep(0.02)

    def between(self, begin: float, end: float) -> list[Row]:
        """The rows of a part, in seconds of time.monotonic(), of the cards alone where there are any."""
        rows = [row for row in self.rows if begin <= row.reading.time <= end]
        return [row for row in rows if row.is_card] or rows

    def devices(self) -> list[Device]:
        """All that were read, the cards alone where there are any."""
        found = list(dict.fromkeys(row.device for row in self.rows))
        return [one for one in found if one.label.startswith("cuda")] or found


@asynccontextmanager
async def watching(url: str, pid: int | None, interval: float, tell: Tell, *, on_cpu: bool) -> AsyncIterator[Timeline]:
    """A timeline that grows inside the block: of this machine's devices where the server is ``pid`` here, else of what its
    /metrics has every ``interval`` seconds. ``on_cpu`` leaves this machine's cards out, for a server that uses none.
    """
    timeline = Timeline()
    if pid is not None:
        visible = "" if on_cpu else visible_cards(pid)
        opened = functools.partial(open_meters, pid, tell, visible)
        with DeviceSampler(opened, interval, tell, on_sample=functools.partial(_note, timeline)):
            yield timeline
        return
    polling = asyncio.create_task(_poll(url, interval, timeline))
    try:
        yield timeline
    finally:
        polling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await polling


def _note(timeline: Timeline, now: float, states: Sequence[DeviceState]) -> None:
    timeline.rows += [Row(state.device, state.reading) for state in states if state.reading is not None]


async def _poll(url: str, interval: float, timeline: Timeline) -> None:
    while True:
        page = await read_page(url, time.monotonic())
        if page is not None:
            timeline.rows += [Row(device, reading) for device, reading in page.readings()]
        await asyncio.sleep(interval)
