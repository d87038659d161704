"""GPM: performance counters of Hopper and newer cards, without a profiler and without root."""

from __future__ import annotations

import time
from typing import Any

# NVML's metrics and what we call them, after DCGM's profiling fields; all are percentages there, of time or of the peak.
METRICS = {
    "GRAPHICS_UTIL": "gr_engine_active",
    "SM_UTIL": "sm_active",
    "SM_OCCUPANCY": "sm_occupancy",
    "DRAM_BW_UTIL": "dram_active",
    "ANY_TENSOR_UTIL": "pipe_tensor_active",
    "HMMA_TENSOR_UTIL": "pipe_tensor_hmma_active",
    "IMMA_TENSOR_UTIL": "pipe_tensor_imma_active",
    "DFMA_TENSOR_UTIL": "pipe_tensor_dfma_active",
    "FP64_UTIL": "pipe_fp64_active",
    "FP32_UTIL": "pipe_fp32_active",
    "FP16_UTIL": "pipe_fp16_active",
    "INTEGER_UTIL": "pipe_int_active",
}
PERCENT = 100
# NVML refreshes its samples no faster; two that lie closer give nothing.
LEAST_SECONDS = 0.1


class GpmSampler:
    """Shares between one call and the next. Raises NVMLError, NOT_SUPPORTED for cards that have no GPM."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        if not nvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice:
            raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
        self._samples = [nvml.nvmlGpmSampleAlloc(), nvml.nvmlGpmSampleAlloc()]
        try:
            nvml.nvmlGpmSampleGet(handle, self._samples[0])
        except nvml.NVMLError:
            self.close()
            raise
        self._sampled = time.monotonic()
        self._shares: dict[str, float] = {}

    def shares(self) -> dict[str, float]:
        """By name, from 0 to 1, since the last sample; those of before where that is too short ago."""
        nvml, now = self._nvml, time.monotonic()
        if now - self._sampled < LEAST_SECONDS:
            return self._shares
        before, after = self._samples
        nvml.nvmlGpmSampleGet(self._handle, after)
        asked = nvml.c_nvmlGpmMetricsGet_t()
        asked.version = nvml.NVML_GPM_METRICS_GET_VERSION
        asked.sample1, asked.sample2 = before, after
        asked.numMetrics = len(METRICS)
        for place, metric in enumerate(METRICS):
            asked.metrics[place].metricId = getattr(nvml, f"NVML_GPM_METRIC_{metric}")
        told = nvml.nvmlGpmMetricsGet(asked)
        self._samples, self._sampled = [after, before], now
        self._shares = {
            name: told.metrics[place].value / PERCENT
            for place, name in enumerate(METRICS.values())
            if told.metrics[place].nvmlReturn == nvml.NVML_SUCCESS
        }
        return self._shares

    def close(self) -> None:
        """Free the samples' memory."""
        for sample in self._samples:
            self._nvml.nvmlGpmSampleFree(sample)
        self._samples = []
