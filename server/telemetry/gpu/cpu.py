"""The machine's processors in the shape of a card, from what Linux tells."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from .meter import Device, Reading, Tell
from .rapl import RaplCounter

KILO, MEGA = 1e3, 1e6
CPUS = "sys/devices/system/cpu"
# Finding the tree means reading the parent of every process of the machine, so it is done no oftener.
TREE_SECONDS = 5.0
# Of cgroup v2 and v1, in a container's own view.
CPU_STATS = ("sys/fs/cgroup/cpu.stat", "sys/fs/cgroup/cpu/cpu.stat", "sys/fs/cgroup/cpu,cpuacct/cpu.stat")


class CpuMeter:
    """The processors as one device, busy with the tree of processes that begins at ``pid``.

    ``utilization`` is the share of the cores' time that the tree has used since the last reading, of all cores that it may use;
    memory is what the tree has resident, of the machine's, a page that several share counted for each. Throttling is ``thermal`` when a core has counted a thermal event since the last
    reading, ``cpu_quota`` when the control group was held back. ``root`` is where /proc and /sys are, for tests.
    """

    def __init__(self, pid: int, tell: Tell, *, root: Path = Path("/")) -> None:
        self._root = root
        self._process = psutil.Process(pid)
        self._cores = len(self._process.cpu_affinity() or ()) or os.cpu_count() or 1
        self._rapl = RaplCounter(root / "sys/class/powercap", tell)
        self._members: list[psutil.Process] = []
        self._looked = -TREE_SECONDS
        self._last: tuple[float, dict[int, float]] | None = None
        self._energy: tuple[float, float] | None = None
        self._throttled: dict[str, int] = {}
        self.device = Device(label="cpu", card=_model_name(root))
        self.read()  # so that the next reading has something to compare with

    def read(self) -> Reading:
        now = time.monotonic()
        energy = self._rapl.joules()
        power = None
        if energy is not None:
            if self._energy is not None and now > self._energy[0]:
                power = (energy - self._energy[1]) / (now - self._energy[0])
            self._energy = now, energy
        seconds, memory = self._tree(now)
        utilization = None
        if self._last is not None and now > self._last[0]:
            # A process counts from the first reading that knows it to the last one.
            used = sum(value - self._last[1].get(pid, value) for pid, value in seconds.items())
            utilization = max(0.0, used) / (now - self._last[0]) / self._cores
        self._last = now, seconds
        return Reading(
            time=now,
            utilization=utilization,
            memory_used=memory,
            memory_total=psutil.virtual_memory().total,
            power=power,
            energy=energy,
            sm_clock=self._clock(),
            throttle_reasons=self._throttle_reasons(),
        )

    def close(self) -> None:
        """There is nothing to give back."""

    def _tree(self, now: float) -> tuple[dict[int, float], int | None]:
        """CPU seconds by process, and resident bytes of all."""
        if now - self._looked >= TREE_SECONDS:
            self._looked = now
            with contextlib.suppress(psutil.NoSuchProcess):
                self._members = [self._process, *self._process.children(recursive=True)]
        seconds: dict[int, float] = {}
        memory = None
        for process in self._members:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied), process.oneshot():
                times = process.cpu_times()
                seconds[process.pid] = times.user + times.system
                memory = (memory or 0) + process.memory_info().rss
        return seconds, memory

    def _clock(self) -> float | None:
        """The mean of the cores' frequencies, Hz."""
        found = [
            number * KILO
            for file in self._files("cpu[0-9]*/cpufreq/scaling_cur_freq")
            if (number := _number(file)) is not None
        ]
        if not found:
            with contextlib.suppress(OSError, ValueError):
                lines = (self._root / "proc/cpuinfo").read_text().splitlines()
                found = [float(line.partition(":")[2]) * MEGA for line in lines if line.startswith("cpu MHz")]
        return sum(found) / len(found) if found else None

    def _throttle_reasons(self) -> frozenset[str] | None:
        counts = {}
        thermal = [
            number
            for file in self._files("cpu[0-9]*/thermal_throttle/core_throttle_count")
            if (number := _number(file)) is not None
        ]
        if thermal:
            counts["thermal"] = sum(thermal)
        for name in CPU_STATS:
            with contextlib.suppress(OSError, ValueError):
                fields = dict(line.split() for line in (self._root / name).read_text().splitlines())
                if "nr_throttled" in fields:
                    counts["cpu_quota"] = int(fields["nr_throttled"])
                    break
        risen = frozenset(name for name, count in counts.items() if count > self._throttled.get(name, count))
        self._throttled = counts
        return risen if counts else None

    def _files(self, pattern: str) -> Iterator[Path]:
        return (self._root / CPUS).glob(pattern)


def _model_name(root: Path) -> str:
    with contextlib.suppress(OSError):
        for line in (root / "proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "CPU"


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
