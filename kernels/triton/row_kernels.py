"""The kernels of rows.py: a program for each row."""

from __future__ import annotations

import triton
import triton.language as tl

from .arithmetic import round_half_even, rounded


@triton.jit
def _store(value: tl.tensor, out: tl.tensor, scales: tl.tensor, COLUMNS: tl.constexpr, WIDTH: tl.constexpr) -> None:
    """A row, float32 [WIDTH], in the type of ``out``: rounded, or quantised as ``quantised.quantise_rows`` does.

    ``value`` is 0 beyond COLUMNS.
    """
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, WIDTH)
    if scales is not None:
        largest = tl.max(tl.abs(value), axis=0)
        inverse = tl.where(largest > 0, tl.div_rn(127.0, largest), 0.0)
        tl.store(scales + row, tl.div_rn(largest, 127.0))
        value = round_half_even(value * inverse)
    tl.store(out + row * COLUMNS + column, rounded(value, out.dtype.element_ty), mask=column < COLUMNS)


@triton.jit
def rms_norm_row(
    x: tl.tensor,
    weight: tl.tensor,
    out: tl.tensor,
    scales: tl.tensor,
    eps: float,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """``out`` [T, COLUMNS] of float32 x [T, COLUMNS] and weight [COLUMNS]."""
    column = tl.arange(0, WIDTH)
    inside = column < COLUMNS
    value = tl.load(x + tl.program_id(0).to(tl.int64) * COLUMNS + column, mask=inside, other=0)
    inverse = tl.rsqrt(tl.sum(value * value, axis=0) / COLUMNS + eps)
    _store(value * inverse * tl.load(weight + column, mask=inside, other=0), out, scales, COLUMNS, WIDTH)


@triton.jit
def silu_mul_row(
    gate_up: tl.tensor, out: tl.tensor, scales: tl.tensor, COLUMNS: tl.constexpr, WIDTH: tl.constexpr
) -> None:
    """``out`` [T, COLUMNS] of float32 gate_up [T, 2 * COLUMNS]."""
    column = tl.arange(0, WIDTH)
    inside = column < COLUMNS
    start = gate_up + tl.program_id(0).to(tl.int64) * 2 * COLUMNS + column
    gate = tl.load(start, mask=inside, other=0)
    up = tl.load(start + COLUMNS, mask=inside, other=0)
    _store(gate / (1.0 + tl.exp(-gate)) * up, out, scales, COLUMNS, WIDTH)


@triton.jit
def quantise_row(x: tl.tensor, out: tl.tensor, scales: tl.tensor, COLUMNS: tl.constexpr, WIDTH: tl.constexpr) -> None:
    """int8 ``out`` [T, COLUMNS] and float32 ``scales`` [T] of x [T, COLUMNS]."""
    column = tl.arange(0, WIDTH)
    value = tl.load(x + tl.program_id(0).to(tl.int64) * COLUMNS + column, mask=column < COLUMNS, other=0)
    _store(value.to(tl.float32), out, scales, COLUMNS, WIDTH)
