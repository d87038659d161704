"""Which kernels run where."""

from __future__ import annotations

import torch

from .backend import Backend
from .cpu.library import load_library
from .cpu.program import CpuBackend
from .ops import KVCacheDtype, Precision
from .torch_backend import CudaGraphs, TorchBackend


def select_backend(
    precision: Precision,
    device: torch.device,
    threads: int | None,
    enforce_eager: bool = False,
    kv_cache_dtype: KVCacheDtype = KVCacheDtype.AUTO,
) -> Backend:
    """The kernels for a device: compiled ones on a CPU that has their instructions, PyTorch everywhere else.

    ``threads`` is for the CPU's kernels; their results don't depend on it. ``enforce_eager`` does without CUDA graphs.
    """
    if device.type == "cpu" and (library := load_library()) is not None:
        return CpuBackend(library, precision, threads=threads or 1, kv_cache_dtype=kv_cache_dtype)
    record = CudaGraphs() if device.type == "cuda" and not enforce_eager else None
    return TorchBackend(precision, device, kv_cache_dtype=kv_cache_dtype, record=record)
