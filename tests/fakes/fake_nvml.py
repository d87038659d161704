"""NVML without a card: the installed binding's own names, signatures, structures and errors around cards that a test describes.

What the binding lacks is an AttributeError, a call with other arguments than it takes a TypeError, and a function that no card
here answers an AssertionError, so that the meter can only pass with calls that the real library has.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pynvml

H100 = "NVIDIA H100 80GB HBM3"


@dataclass
class FakeCard:
    """A card as it is now. ``failures`` are NVML's error numbers by function, ``failure`` is that of every call."""

    name: str = H100
    uuid: str = "GPU-5f2c"
    utilization: tuple[int, int] = (93, 41)
    memory: tuple[int, int] = (60 << 30, 80 << 30)
    milliwatts: int = 512_000
    milliwatts_limit: int = 700_000
    millijoules: int = 9_000_000
    clocks: dict[int, int] = field(default_factory=lambda: {pynvml.NVML_CLOCK_SM: 1755, pynvml.NVML_CLOCK_MEM: 2619})
    temperature: int = 61
    reasons: int = 0
    has_gpm: bool = True
    gpm: dict[int, float] = field(
        default_factory=lambda: {
            pynvml.NVML_GPM_METRIC_SM_UTIL: 88.0,
            pynvml.NVML_GPM_METRIC_SM_OCCUPANCY: 22.0,
            pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL: 37.5,
            pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL: 64.0,
        }
    )
    failures: dict[str, int] = field(default_factory=dict)
    failure: int | None = None


class FakeNvml:
    """Stands where ``import pynvml`` looks. ``failures`` are errors of calls that are about no card, by function."""

    def __init__(self, *cards: FakeCard, failures: dict[str, int] | None = None) -> None:
        self.cards = cards
        self.failures = failures or {}
        self.holders = 0
        self.samples = 0
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(pynvml, name)
        if not (name.startswith("nvml") and inspect.isroutine(real)):
            return real
        answer: Callable[..., Any] | None = getattr(type(self), f"answer_{name}", None)
        signature = inspect.signature(real)

        def call(*arguments: Any, **named: Any) -> Any:
            bound = signature.bind(*arguments, **named)
            assert answer is not None, f"no fake card answers {name}"
            self.calls.append(name)
            card = next((one for one in bound.arguments.values() if isinstance(one, FakeCard)), None)
            failure = self.failures.get(name)
            if card is not None:
                failure = card.failure or card.failures.get(name)
            if failure is not None:
                raise pynvml.NVMLError(failure)
            return answer(self, *bound.args, **bound.kwargs)

        return call

    def answer_nvmlInit(self) -> None:  # noqa: N802
        self.holders += 1

    def answer_nvmlShutdown(self) -> None:  # noqa: N802
        self.holders -= 1

    def answer_nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def answer_nvmlDeviceGetHandleByIndex(self, index: int) -> FakeCard:  # noqa: N802
        return self.cards[index]

    def answer_nvmlDeviceGetName(self, handle: FakeCard) -> str:  # noqa: N802
        return handle.name

    def answer_nvmlDeviceGetUUID(self, handle: FakeCard) -> str:  # noqa: N802
        return handle.uuid

    def answer_nvmlDeviceGetUtilizationRates(self, handle: FakeCard) -> Any:  # noqa: N802
        return pynvml.c_nvmlUtilization_t(*handle.utilization)

    def answer_nvmlDeviceGetMemoryInfo(self, handle: FakeCard, version: int | None = None) -> Any:  # noqa: N802
        used, total = handle.memory
        return pynvml.c_nvmlMemory_t(total=total, free=total - used, used=used)

    def answer_nvmlDeviceGetPowerUsage(self, handle: FakeCard) -> int:  # noqa: N802
        return handle.milliwatts

    def answer_nvmlDeviceGetEnforcedPowerLimit(self, handle: FakeCard) -> int:  # noqa: N802
        return handle.milliwatts_limit

    def answer_nvmlDeviceGetTotalEnergyConsumption(self, handle: FakeCard) -> int:  # noqa: N802
        return handle.millijoules

    def answer_nvmlDeviceGetClockInfo(self, handle: FakeCard, type: int) -> int:  # noqa: N802
        return handle.clocks[type]

    def answer_nvmlDeviceGetTemperature(self, handle: FakeCard, sensor: int) -> int:  # noqa: N802
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return handle.temperature

    def answer_nvmlDeviceGetCurrentClocksEventReasons(self, handle: FakeCard) -> int:  # noqa: N802
        return handle.reasons

    def answer_nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: FakeCard) -> int:  # noqa: N802
        return handle.reasons

    def answer_nvmlGpmQueryDeviceSupport(self, device: FakeCard) -> Any:  # noqa: N802
        return pynvml.c_nvmlGpmSupport_t(pynvml.NVML_GPM_SUPPORT_VERSION, int(device.has_gpm))

    def answer_nvmlGpmSampleAlloc(self) -> Any:  # noqa: N802
        self.samples += 1
        return pynvml.c_nvmlGpmSample_t()

    def answer_nvmlGpmSampleFree(self, gpmSample: Any) -> None:  # noqa: N802, N803
        self.samples -= 1

    def answer_nvmlGpmSampleGet(self, device: FakeCard, gpmSample: Any) -> Any:  # noqa: N802, N803
        self._sampled = device
        return gpmSample

    def answer_nvmlGpmMetricsGet(self, metricsGet: Any) -> Any:  # noqa: N802, N803
        assert metricsGet.version == pynvml.NVML_GPM_METRICS_GET_VERSION
        for place in range(metricsGet.numMetrics):
            metric = metricsGet.metrics[place]
            known = metric.metricId in self._sampled.gpm
            metric.nvmlReturn = pynvml.NVML_SUCCESS if known else pynvml.NVML_ERROR_NOT_SUPPORTED
            metric.value = self._sampled.gpm.get(metric.metricId, 0.0)
        return metricsGet
