"""What is done to each row alone between matrix products: norms and SiLU, rounded to what the next product reads."""

from __future__ import annotations

import torch
from torch import Tensor

import triton

from .arithmetic import EXACT
from .row_kernels import quantise_row, rms_norm_row, silu_mul_row


def rms_norm(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """x / sqrt(mean(x^2) + eps) * weight of float32 [T, K], in ``dtype``; if that is int8, with float32 scales [T, 1].

    Zhang and Sennrich, "Root mean square layer normalization", arXiv:1910.07467.
    """
    rows, columns = x.shape
    assert x.is_contiguous()
    out, scales = _empty(rows, columns, dtype, x.device)
    rms_norm_row[(rows,)](
        x, weight, out, scales, eps, COLUMNS=columns, WIDTH=_width(columns), num_warps=_warps(columns), **EXACT
    )
    return out, scales


def silu_mul(gate_up: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """silu(gate) * up of float32 [T, 2 I], gate first: [T, I] in ``dtype``; if that is int8, with float32 scales [T, 1].

    Shazeer, "GLU variants improve transformer", arXiv:2002.05202.
    """
    rows, columns = gate_up.shape[0], gate_up.shape[1] // 2
    assert gate_up.is_contiguous()
    out, scales = _empty(rows, columns, dtype, gate_up.device)
    silu_mul_row[(rows,)](
        gate_up, out, scales, COLUMNS=columns, WIDTH=_width(columns), num_warps=_warps(columns), **EXACT
    )
    return out, scales


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """``quantised.quantise_rows`` by a kernel: int8 [T, K] and float32 scales [T, 1] of float32 or bfloat16 [T, K]."""
    rows, columns = x.shape
    assert x.is_contiguous()
    out, scales = _empty(rows, columns, torch.int8, x.device)
    assert scales is not None
    quantise_row[(rows,)](x, out, scales, COLUMNS=columns, WIDTH=_width(columns), num_warps=_warps(columns), **EXACT)
    return out, scales


def _empty(rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor | None]:
    out = torch.empty(rows, columns, dtype=dtype, device=device)
    return out, torch.empty(rows, 1, dtype=torch.float32, device=device) if dtype is torch.int8 else None


def _width(columns: int) -> int:
    """Triton's blocks are powers of two."""
    return int(triton.next_power_of_2(columns))


def _warps(columns: int) -> int:
    """About 16 elements of a row for each thread, so that a wide row stays in registers; a function of the width alone."""
    return max(1, min(32, _width(columns) // 512))
