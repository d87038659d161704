"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Machine:
    """The hardware and system that a result was measured on."""

    cpu: str
    cpu_flags: tuple[str, ...]  # those that decide which kernels can run
    cores: int
    memory_bytes: int
    system: str
    python: str


def this_machine() -> Machine:
    """The machine that this process runs on."""
    cpu, flags = platform.processor() or platform.machine(), frozenset[str]()
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                cpu = value.strip()
            elif name.strip() == "flags":
                flags = frozenset(value.split())
    return Machine(
        cpu=cpu,
        cpu_flags=tuple(sorted(flag for flag in flags if flag.startswith(("avx", "amx")))),
        cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        system=platform.platform(),
        python=platform.python_version(),
    )


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def busy_cores(seconds: float = 1.0) -> float:
    """How many cores everything on this machine keeps busy; to be asked while nothing of ours runs."""
    return psutil.cpu_percent(seconds) / 100 * (psutil.cpu_count() or 1)


def busy_seconds() -> float:
    """The CPU time that everything on this machine has used so far, with what its host has taken from it, in seconds.

    The difference of two readings is what was used between them.
    """
    times = psutil.cpu_times()
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # which user and nice contain already
    waits = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times) - guests - waits)


def revision(directory: Path) -> str | None:
    """The git revision of a checkout, with "-dirty" where it was changed; None where there is none."""
    command = ["git", "-C", str(directory), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
