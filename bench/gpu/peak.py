"""The peaks of the device that a server runs on: from the table of cards, measured on processors, or as they were given."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence

from pennyweight.server.telemetry.gpu.meter import Device
from pennyweight.server.telemetry.gpu.peaks import Peak, card_peak

MEASURED = "measured at the start: a matrix product and a copy over all cores"
GIVEN = "as given"
SECONDS = 120


async def measured_peak() -> Peak | None:
    """Of this machine's processors, in a process of its own; None where PyTorch is missing. The server should have nothing to do."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pennyweight.kernels.cpu.peak",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(SECONDS):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        return None
    told: dict[str, float] = json.loads(out)
    bandwidth = told.pop("bandwidth")
    return Peak(flops=told, bandwidth=bandwidth, source=MEASURED)


def table_peak(devices: Sequence[Device]) -> Peak | None:
    """Of the cards together, where each of them is in the table; None without cards."""
    found = [card_peak(device.card) for device in devices if device.label.startswith("cuda")]
    known = [peak for peak in found if peak is not None]
    if not known or len(known) != len(found):
        return None
    precisions = set.intersection(*(set(peak.flops) for peak in known))
    return Peak(
        flops={precision: sum(peak.flops[precision] for peak in known) for precision in precisions},
        bandwidth=sum(peak.bandwidth or 0.0 for peak in known),
        source=known[0].source,
    )


def with_given(peak: Peak | None, precision: str, flops: float | None, bandwidth: float | None) -> Peak | None:
    """A peak with the numbers of the command line, if any, in the place of its own."""
    if flops is None and bandwidth is None:
        return peak
    base = peak or Peak()
    return Peak(
        flops={**base.flops, **({precision: flops} if flops is not None else {})},
        bandwidth=bandwidth if bandwidth is not None else base.bandwidth,
        source=f"{base.source}, {GIVEN}" if base.source else GIVEN,
    )
