"""What a device can read from its memory in a second."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

import numpy as np

# Peak memory bandwidth in bytes/s as NVIDIA states it. H100 (SXM), H200, B200, both A100 of SXM, L40S and L4 were looked up in
# November 2026; the others were not: look yours up before you quote a share of it. The first name that is in what
# nvidia-smi says counts, so variants come before the plain name.
PEAKS = (
    ("H100 PCIe", 2.0e12),
    ("H100 NVL", 3.9e12),
    ("H100", 3.35e12),
    ("H200", 4.8e12),
    ("B200", 8.0e12),
    ("A100-SXM4-80GB", 2.039e12),
    ("A100 80GB PCIe", 1.935e12),
    ("A100", 1.555e12),
    ("A10G", 0.6e12),
    ("A10", 0.6e12),
    ("L40S", 0.864e12),
    ("L40", 0.864e12),
    ("L4", 0.3e12),
    ("RTX 4090", 1.008e12),
    ("RTX 3090", 0.936e12),
    ("T4", 0.32e12),
)


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
    peak = next((value for part, value in PEAKS if part in name), None)
    return Bandwidth(name, peak, "the data sheet" if peak else "this card is not in bench/bandwidth.py")


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
