"""What a device can read from its memory in a second."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

import numpy as np

from pennyweight.server.telemetry.gpu.peaks import card_peak


@dataclass(frozen=True)
class Bandwidth:
    """``peak`` bytes/s of ``device`` (None where it isn't known), and where that number is from."""

    device: str
    peak: float | None
    source: str


def device_bandwidth(device: str) -> Bandwidth:
    """Of the first CUDA card, or of this machine's memory where ``device`` is "cpu" or there is no card."""
    name = None if device == "cpu" else _card()
    if name is None:
        return Bandwidth("cpu", _measure_memory(), "measured: a copy by one thread, bytes read and written")
    peak = card_peak(name)
    if peak is None:
        return Bandwidth(name, None, "this card is not in server/telemetry/gpu/peaks.py")
    return Bandwidth(name, peak.bandwidth, peak.source)


def driver_version() -> str | None:
    """The NVIDIA driver's version; None without one."""
    return _ask("driver_version")


def _card() -> str | None:
    return _ask("name")


def _ask(field: str) -> str | None:
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.splitlines()
    return lines[0].strip() if lines else None


def _measure_memory() -> float:
    source = np.ones(1 << 26, dtype=np.float32)
    target = np.empty_like(source)
    best = float("inf")
    for _ in range(4):
        started = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - started)
    return 2 * source.nbytes / best
