"""The one protocol for devices, and what they tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

# Takes a sentence for the log; a meter says each thing once.
Tell = Callable[[str], None]


class DeviceLost(Exception):
    """The device is gone until somebody resets it; asking again would not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """``label`` tells the devices of one machine apart (``cuda:0``, ``cpu``); ``card`` is the maker's name of the model."""

    label: str
    card: str
    uuid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A device at one time, in seconds of ``time.monotonic()``. What it can't tell is None, never 0.

    Shares are from 0 to 1, of the time since the last reading or of what the device last looked at: ``utilization`` is time in which
    it did anything, ``memory_utilization`` time in which its memory was read or written. Memory is in bytes, ``power`` in watts,
    clocks in Hz, ``temperature`` in degrees Celsius. ``energy`` is in joules since any moment, the same for all readings.
    ``throttle_reasons`` are what holds its clocks or its time down now. ``activity`` has the shares that only performance counters
    tell: ``sm_active``, ``sm_occupancy``, ``dram_active``, ``pipe_tensor_active`` and further ``pipe_*_active``.
    """

    time: float
    utilization: float | None = None
    memory_utilization: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    power: float | None = None
    power_limit: float | None = None
    energy: float | None = None
    sm_clock: float | None = None
    memory_clock: float | None = None
    temperature: float | None = None
    throttle_reasons: frozenset[str] | None = None
    activity: Mapping[str, float] = field(default_factory=dict)


class DeviceMeter(Protocol):
    """Reads one device. Used by one thread at a time."""

    @property
    def device(self) -> Device: ...

    def read(self) -> Reading:
        """The device now. Raises DeviceLost; what else goes wrong with a field leaves that field out."""
        ...

    def close(self) -> None:
        """Give back what reading it took. Idempotent."""
        ...
