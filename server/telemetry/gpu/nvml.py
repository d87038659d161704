"""NVIDIA cards through NVML, by NVIDIA's own binding (the package nvidia-ml-py, whose module is ``pynvml``)."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from .energy import PowerIntegral
from .gpm import GpmSampler
from .meter import Device, DeviceLost, Reading, Tell

T = TypeVar("T")

MEGA = 1e6
MILLI = 1e-3
PERCENT = 100
# Bits of the clocks' event reasons that mean that the card is slower than it could be: not idleness, and not the clocks
# that somebody has set. By NVML's names of them, in the spelling of nvidia-smi.
THROTTLES = {
    "SwPowerCap": "sw_power_cap",
    "HwSlowdown": "hw_slowdown",
    "SwThermalSlowdown": "sw_thermal_slowdown",
    "HwThermalSlowdown": "hw_thermal_slowdown",
    "HwPowerBrakeSlowdown": "hw_power_brake_slowdown",
}


def open_cards(tell: Tell, visible: str | None) -> list[NvmlMeter]:
    """A meter for each card. None where there is no driver, no binding, or no permission, which is told where it is a surprise.

    ``visible`` is CUDA_VISIBLE_DEVICES, which NVML itself does not heed: indices (in the order of the PCI bus, as NVML counts)
    or the beginnings of UUIDs, up to the first that is none; None means all.
    """
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return []
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        if error.value not in (nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED):
            tell(f"no telemetry of NVIDIA cards: {error}")
        return []
    meters: list[NvmlMeter] = []
    try:
        for place, index in enumerate(_visible(nvml, visible)):
            try:
                meters.append(NvmlMeter(nvml, place, index, tell))
            except (nvml.NVMLError, DeviceLost) as error:
                tell(f"no telemetry of NVIDIA card {index}: {error}")
    except nvml.NVMLError as error:
        tell(f"no telemetry of NVIDIA cards: {error}")
    finally:
        nvml.nvmlShutdown()  # each meter holds the library for itself
    return meters


def _visible(nvml: Any, visible: str | None) -> Iterator[int]:
    count = nvml.nvmlDeviceGetCount()
    if visible is None:
        yield from range(count)
        return
    uuids: list[str] = []
    if not all(map(str.isdigit, visible.replace(",", " ").split())):
        uuids = [nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count)]
    for name in map(str.strip, visible.split(",")):
        if name.isdigit():
            found = [int(name)] if int(name) < count else []
        else:
            found = [index for index, uuid in enumerate(uuids) if name and uuid.startswith(name)]
        if len(found) != 1:
            return  # as CUDA has it: what comes after an invalid one is invisible too
        yield found[0]


class NvmlMeter:
    """The card that NVML counts as ``index`` and CUDA as ``place``. A field that it does not have, or that this user may not read, is told once and then left out.

    NVML counts the cards' energy since the driver was loaded on Volta and newer; older ones get it from their power.
    """

    def __init__(self, nvml: Any, place: int, index: int, tell: Tell) -> None:
        self._nvml = nvml
        self._tell = tell
        self._missing: set[str] = set()
        self._lost = (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED, nvml.NVML_ERROR_GPU_NOT_FOUND)
        self._power_integral = PowerIntegral()
        self._gpm: GpmSampler | None = None
        self._is_open = True
        nvml.nvmlInit()
        try:
            self._handle = nvml.nvmlDeviceGetHandleByIndex(index)
            self.device = Device(
                label=f"cuda:{place}",
                card=nvml.nvmlDeviceGetName(self._handle),
                uuid=nvml.nvmlDeviceGetUUID(self._handle),
            )
            self._gpm = self._ask("activity", lambda: GpmSampler(nvml, self._handle))
        except (nvml.NVMLError, DeviceLost):
            self.close()
            raise
        self._throttles = {getattr(nvml, f"nvmlClocksThrottleReason{bit}"): name for bit, name in THROTTLES.items()}

    def read(self) -> Reading:
        nvml, handle, now = self._nvml, self._handle, time.monotonic()
        rates = self._ask("utilization", lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        memory = self._ask("memory", lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        power = self._number("power", lambda: nvml.nvmlDeviceGetPowerUsage(handle), MILLI)
        energy = self._number("energy", lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle), MILLI)
        integrated = self._power_integral.add(now, power)
        reasons = self._ask("throttle_reasons", self._event_reasons)
        return Reading(
            time=now,
            utilization=None if rates is None else rates.gpu / PERCENT,
            memory_utilization=None if rates is None else rates.memory / PERCENT,
            memory_used=None if memory is None else memory.used,
            memory_total=None if memory is None else memory.total,
            power=power,
            power_limit=self._number("power_limit", lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle), MILLI),
            energy=integrated if "energy" in self._missing else energy,
            sm_clock=self._number("sm_clock", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM), MEGA),
            memory_clock=self._number(
                "memory_clock", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM), MEGA
            ),
            temperature=self._number(
                "temperature", lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU), 1.0
            ),
            throttle_reasons=None
            if reasons is None
            else frozenset(name for bit, name in self._throttles.items() if reasons & bit),
            activity=(self._ask("activity", self._gpm.shares) if self._gpm is not None else None) or {},
        )

    def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        try:
            if self._gpm is not None:
                self._gpm.close()
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError as error:
            self._tell(f"the telemetry of a card did not end in order: {error}")

    def _event_reasons(self) -> int:
        nvml = self._nvml
        try:
            reasons: int = nvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle)
        except nvml.NVMLError as error:
            if error.value != nvml.NVML_ERROR_FUNCTION_NOT_FOUND:
                raise
            # What drivers before 535 call it.
            reasons = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle)
        return reasons

    def _number(self, field: str, ask: Callable[[], float], unit: float) -> float | None:
        found = self._ask(field, ask)
        return None if found is None else found * unit

    def _ask(self, field: str, ask: Callable[[], T]) -> T | None:
        """What NVML says, or None. Raises DeviceLost."""
        if field in self._missing:
            return None
        try:
            return ask()
        except self._nvml.NVMLError as error:
            if error.value in self._lost:
                raise DeviceLost(f"{self.device.label} ({self.device.card}): {error}") from None
            if error.value not in (self._nvml.NVML_ERROR_TIMEOUT, self._nvml.NVML_ERROR_NO_DATA):
                self._missing.add(field)
                self._tell(f"{self.device.label} ({self.device.card}) does not tell its {field}: {error}")
            return None
