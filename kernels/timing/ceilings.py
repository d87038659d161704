"""What the machine can do at most, measured beside the kernels: multiplications from registers, reads from memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from pennyweight.kernels.cpu.library import load_library
from pennyweight.kernels.cpu.packed_linear import WeightType

READ_BYTES = 1 << 28
TIMES = 7
# Multiplications from registers that a measurement does, for each thread.
STEPS = 1 << 20
ARITHMETIC = {
    "float32": WeightType.FLOAT32,
    "bfloat16": WeightType.BFLOAT16,
    "int8": WeightType.INT8,
    "int16": WeightType.CODES4,
}


def measure_ceilings(device: torch.device, threads: int) -> dict[str, float]:
    """Operations a second as float32, bfloat16, int8 and int16, and ``bandwidth`` in bytes a second that are read.

    On a CPU whose kernels are compiled the instructions that these multiply with, over registers alone; else large products of
    PyTorch. Each is the best of several times.
    """
    found = _from_registers(threads) if device.type == "cpu" else {}
    return (found or _from_products(device)) | {"bandwidth": _read_bandwidth(device)}


def _from_registers(threads: int) -> dict[str, float]:
    library = load_library()
    if library is None:
        return {}
    team = library.team(threads)
    found = {}
    for name, kind in ARITHMETIC.items():
        operations: float = 0.0

        def act(kind: WeightType = kind) -> None:
            nonlocal operations
            operations = library.c.pw_peak(team, kind, STEPS)

        seconds = _best(act, lambda: None)
        found[name] = operations / seconds
    return found


def _from_products(device: torch.device) -> dict[str, float]:
    size = 4096 if device.type == "cuda" else 1024
    found = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        left = torch.randn(size, size, device=device, dtype=dtype)
        found[name] = 2 * size**3 / _best(lambda left=left: left @ left, _settle(device))  # type: ignore[misc]
    whole = torch.ones(size, size, device=device, dtype=torch.int8)
    found["int8"] = 2 * size**3 / _best(lambda: torch._int_mm(whole, whole), _settle(device))
    # Codes are multiplied as bfloat16 where nothing is compiled.
    found["int16"] = found["bfloat16"]
    return found


def _read_bandwidth(device: torch.device) -> float:
    source = torch.ones(READ_BYTES // 4, device=device)
    return READ_BYTES / _best(source.sum, _settle(device))


def _settle(device: torch.device) -> Callable[[], None]:
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)


def _best(act: Callable[[], object], settle: Callable[[], None]) -> float:
    best = float("inf")
    for _ in range(TIMES):
        settle()
        started = time.perf_counter()
        act()
        settle()
        best = min(best, time.perf_counter() - started)
    return best
