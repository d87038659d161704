"""What this machine's processors can do at most, measured: ``python -m pennyweight.kernels.cpu.peak`` prints it as JSON.

FLOP/s of a large square matrix product at each precision, as PyTorch (oneDNN) computes it over all usable cores, and bytes/s of a
copy of arrays that no cache holds, read and written bytes together, by as many threads. Each is the best of several times,
so that what else runs on the machine disturbs it least. A precision that is slower than float32 has float32's number: its products
can be computed in that as well.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable

import torch
from torch import Tensor

SIZES = (256, 512, 1024, 1536)
COPY_BYTES = 1 << 27
# A call that takes as long is large enough: some precisions have only slow paths on some processors.
LONG_SECONDS = 0.05
LEAST_SECONDS = 0.3


def best_seconds(act: Callable[[], object]) -> float:
    """The shortest of two or more calls, over LEAST_SECONDS or longer, after one that doesn't count."""
    act()
    best, began, times = float("inf"), time.perf_counter(), 0
    while times < 2 or time.perf_counter() - began < LEAST_SECONDS:
        started = time.perf_counter()
        act()
        best = min(best, time.perf_counter() - started)
        times += 1
    return best


def best_flops(multiply: Callable[[Tensor, Tensor], Tensor], make: Callable[[int], Tensor]) -> float:
    """FLOP/s of a product of two square matrices, at the size that gives the most up to the first that takes long."""
    best = 0.0
    for size in SIZES:
        left, right = make(size), make(size)
        seconds = best_seconds(functools.partial(multiply, left, right))
        best = max(best, 2 * size**3 / seconds)
        if seconds > LONG_SECONDS:
            break
    return best


def measure() -> dict[str, float]:
    """FLOP/s as float32, bfloat16 and int8, and ``bandwidth`` in bytes/s."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    float32 = best_flops(torch.mm, lambda size: torch.randn(size, size))
    bfloat16 = best_flops(torch.mm, lambda size: torch.randn(size, size).bfloat16())
    int8 = best_flops(torch._int_mm, lambda size: torch.randint(-127, 128, (size, size), dtype=torch.int8))
    source = torch.ones(COPY_BYTES // 4)
    target = torch.empty_like(source)
    bandwidth = 2 * COPY_BYTES / best_seconds(lambda: target.copy_(source))
    return {
        "float32": float32,
        "bfloat16": max(float32, bfloat16),
        "int8": max(float32, int8),
        "bandwidth": bandwidth,
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
