"""The server's telemetry of its devices: which there are, who reads them, and what of it Prometheus gets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry

from pennyweight.server.config import TelemetrySettings
from pennyweight.server.engines.base import Engine
from pennyweight.server.errors import PennyweightError

from .cpu import CpuMeter
from .device_metrics import DeviceCollector
from .meter import Device, DeviceMeter, Tell
from .nvml import open_cards
from .peaks import card_peak
from .sampler import DeviceSampler
from .work_metrics import Tokens, WorkCollector


def open_meters(pid: int, tell: Tell, visible: str | None) -> list[DeviceMeter]:
    """This machine's cards, those of CUDA_VISIBLE_DEVICES or all, and last its processors, with the processes below ``pid``."""
    return [*open_cards(tell, visible), CpuMeter(pid, tell)]


@contextmanager
def device_telemetry(
    settings: TelemetrySettings,
    engines: Mapping[str, Engine],
    tokens: Tokens,
    registry: CollectorRegistry,
    tell: Tell,
) -> Iterator[None]:
    """Have the engines' work and the devices in ``registry`` inside the block. ``tokens`` are those answered so far.

    ``engines`` are by the names that are their labels. Nothing that goes wrong with a device is raised.
    """
    work = WorkCollector(
        engines,
        tokens,
        lambda engine: peak_of(settings, [state.device for state in sampler.states], engine),
        settings.dollars_per_hour,
    )
    sampler = DeviceSampler(
        lambda: open_meters(os.getpid(), tell, os.environ.get("CUDA_VISIBLE_DEVICES")),
        settings.interval,
        tell,
        on_sample=lambda time, states: work.look(time),
    )
    registry.register(work)
    if settings.interval == 0:
        yield
        return
    registry.register(DeviceCollector(lambda: sampler.states))
    with sampler:
        yield


def peak_of(
    settings: TelemetrySettings, devices: Sequence[Device], engine: Engine
) -> tuple[float | None, float | None]:
    """FLOP/s and bytes/s, None where not known, of the device that an engine says it runs on, at its precision."""
    try:
        details = engine.capabilities().details
    except PennyweightError:
        return None, None
    kind, _, number = details.get("device", "").partition(":")
    cards = [device.card for device in devices if device.label.startswith("cuda")]
    place = int(number or 0)
    peak = card_peak(cards[place]) if kind == "cuda" and place < len(cards) else None
    flops = peak.flops_at(details.get("dtype", "")) if peak is not None else None
    bandwidth = peak.bandwidth if peak is not None else None
    return settings.peak_flops or flops, settings.peak_bandwidth or bandwidth
