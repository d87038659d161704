"""Which kernels run where."""

from __future__ import annotations

import torch

from .backend import Backend
from .cpu.library import load_library
from .cpu.program import CpuBackend
from .ops import KVCacheDtype, Precision
from .tensor_ops import TensorOps
from .torch_backend import CudaGraphs, TensorBackend
from .torch_ops import TorchOps
from .triton import has_triton


def select_backend(
    precision: Precision,
    device: torch.device,
    threads: int | None,
    enforce_eager: bool = False,
    kv_cache_dtype: KVCacheDtype = KVCacheDtype.AUTO,
    *,
    own: bool = True,
) -> Backend:
    """The kernels for a device: compiled ones on a CPU that has their instructions, Triton's on CUDA, PyTorch's elsewhere and where
    ``own`` ones aren't wanted.

    ``threads`` is for the CPU's kernels; their results don't depend on it. ``enforce_eager`` does without CUDA graphs.
    """
    if own and device.type == "cpu" and (library := load_library()) is not None:
        return CpuBackend(library, precision, threads=threads or 1, kv_cache_dtype=kv_cache_dtype)
    record = CudaGraphs() if device.type == "cuda" and not enforce_eager else None
    ops = _tensor_ops(precision, device, kv_cache_dtype) if own else TorchOps(precision, device)
    return TensorBackend(ops, kv_cache_dtype=kv_cache_dtype, record=record)


def _tensor_ops(precision: Precision, device: torch.device, kv_cache_dtype: KVCacheDtype) -> TensorOps:
    """Triton's for what they compute (not float32, and no cache in int8 yet), where they run."""
    is_done = precision is not Precision.FLOAT32 and kv_cache_dtype is KVCacheDtype.AUTO
    if device.type != "cuda" or not is_done or not has_triton(device):
        return TorchOps(precision, device)
    # Only here, so that no other device pays for Triton's import.
    from .triton.ops import TritonOps

    return TritonOps(precision, device)
