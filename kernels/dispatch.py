"""Which kernels run where."""

from __future__ import annotations

import torch

from .backend import Backend
from .ops import Precision
from .torch_ops import TorchBackend


def select_backend(
    precision: Precision, device: torch.device, threads: int | None, enforce_eager: bool = False
) -> Backend:
    """The kernels for a device. ``enforce_eager`` does without CUDA graphs."""
    return TorchBackend(precision, device, use_graphs=not enforce_eager)
