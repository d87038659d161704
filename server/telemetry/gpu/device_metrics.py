"""The devices' metrics, named after those of NVIDIA's dcgm-exporter, in Prometheus' base units.

===================================== ===================================================
DCGM_FI_...                           here, under our prefix, labels ``device``, ``card`` and ``uuid``
===================================== ===================================================
DEV_GPU_UTIL (%)                      device_util (0 to 1; of processors, of the server's own processes)
DEV_MEM_COPY_UTIL (%)                 device_mem_copy_util (0 to 1)
DEV_FB_USED, DEV_FB_TOTAL (MiB)       device_fb_used_bytes, device_fb_total_bytes
DEV_POWER_USAGE (W)                   device_power_usage_watts
DEV_POWER_MGMT_LIMIT (W)              device_power_mgmt_limit_watts
DEV_TOTAL_ENERGY_CONSUMPTION (mJ)     device_energy_consumption_joules_total
DEV_SM_CLOCK, DEV_MEM_CLOCK (MHz)     device_sm_clock_hertz, device_mem_clock_hertz
DEV_GPU_TEMP (C)                      device_temp_celsius
DEV_CLOCKS_EVENT_REASONS (bits)       device_throttled{reason} (1 while it holds), device_throttled_seconds_total{reason}
PROF_SM_ACTIVE, PROF_DRAM_ACTIVE, ... device_prof_sm_active, device_prof_dram_active, ... (0 to 1)
--                                    device_up (0 once the device is lost)
===================================== ===================================================

What a device can't tell has no sample: an absent number and 0 are different things.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from .sampler import DeviceState

PREFIX = "pennyweight:device_"
LABELS = ("device", "card", "uuid")
GAUGES = {
    "util": ("utilization", "Share of the time in which it did anything."),
    "mem_copy_util": ("memory_utilization", "Share of the time in which its memory was read or written."),
    "fb_used_bytes": ("memory_used", "Memory in use."),
    "fb_total_bytes": ("memory_total", "Memory in all."),
    "power_usage_watts": ("power", "Power draw."),
    "power_mgmt_limit_watts": ("power_limit", "Power limit in force."),
    "sm_clock_hertz": ("sm_clock", "Clock of the multiprocessors, or mean clock of the cores."),
    "mem_clock_hertz": ("memory_clock", "Clock of the memory."),
    "temp_celsius": ("temperature", "Temperature."),
}


class DeviceCollector(Collector):
    """Tells what the sampler has read last; asks the devices nothing itself."""

    def __init__(self, states: Callable[[], Sequence[DeviceState]]) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        up = _gauge("up", "1 while the device can be read, 0 once it is lost.")
        throttled = _gauge("throttled", "1 while this holds its clocks or its time down.", "reason")
        seconds = CounterMetricFamily(
            PREFIX + "throttled_seconds", "Time for which this was seen.", labels=[*LABELS, "reason"]
        )
        energy = CounterMetricFamily(PREFIX + "energy_consumption_joules", "Energy taken.", labels=LABELS)
        gauges = {name: _gauge(name, help_text) for name, (_, help_text) in GAUGES.items()}
        activity: dict[str, GaugeMetricFamily] = {}
        for state in self._states():
            labels = [state.device.label, state.device.card, state.device.uuid or ""]
            up.add_metric(labels, float(not state.is_lost))
            for reason, value in list(state.throttled_seconds.items()):
                seconds.add_metric([*labels, reason], value)
            reading = state.reading
            if reading is None:
                continue
            for name, (field, _) in GAUGES.items():
                if (number := getattr(reading, field)) is not None:
                    gauges[name].add_metric(labels, number)
            if reading.energy is not None:
                energy.add_metric(labels, reading.energy)
            for reason in reading.throttle_reasons or ():
                throttled.add_metric([*labels, reason], 1.0)
            for name, share in reading.activity.items():
                family = activity.setdefault(name, _gauge(f"prof_{name}", "Share, by the performance counters."))
                family.add_metric(labels, share)
        families = (up, throttled, seconds, energy, *gauges.values(), *activity.values())
        yield from (family for family in families if family.samples)


def _gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, help_text, labels=[*LABELS, *labels])
