"""Arithmetic whose results must not depend on where the compiler puts it."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

# Options of every launch: a * b + c is two roundings unless it is written as ``tl.fma``.
EXACT: dict[str, Any] = {"enable_fp_fusion": False}

# The interpreter computes bfloat16 wrongly, and adds up in an order that depends on the tile: there, the same values are multiplied in
# float64, and floats are rounded before they become bfloat16.
_INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))

# 1.5 * 2^23: a float32 of this size has no room for a fraction.
_NO_FRACTION = tl.constexpr(12582912.0)


@triton.jit
def product(a: tl.tensor, b: tl.tensor, total: tl.tensor) -> tl.tensor:
    """total + a [R, K] @ b [K, C]: float32 of floats, int32 (exact) of int8.

    The weights (or the keys) are always ``a``. So the shape of the tensor cores' instruction along R and K is the same for
    any number of tokens, which are columns: they change how many columns it computes and not how it sums.
    """
    if total.dtype == tl.int32:
        total = tl.dot(a, b, total, out_dtype=tl.int32)
    elif _INTERPRETED:
        wide = tl.dot(a.to(tl.float64), b.to(tl.float64), out_dtype=tl.float64)
        total = (total.to(tl.float64) + wide).to(tl.float32)
    else:
        total = tl.dot(a, b, total, input_precision="ieee")
    return total


@triton.jit
def rounded(x: tl.tensor, TYPE: tl.constexpr) -> tl.tensor:
    """float32 as TYPE, to the nearest, half to even (whole numbers for int8: see ``round_half_even``)."""
    if _INTERPRETED and tl.bfloat16 == TYPE:
        bits = x.to(tl.uint32, bitcast=True)
        # What is no number keeps its bits, or the carry might run through them.
        nearest = tl.where(x == x, bits + 0x7FFF + ((bits >> 16) & 1), bits)
        x = (nearest & 0xFFFF0000).to(tl.float32, bitcast=True)
    return x.to(TYPE)


@triton.jit
def round_half_even(x: tl.tensor) -> tl.tensor:
    """float32 rounded to whole numbers, for magnitudes below 2^22."""
    return (x + _NO_FRACTION) - _NO_FRACTION


@triton.jit
def finite(x: tl.tensor) -> tl.tensor:
    """x, and 0 where it is infinite or no number."""
    return tl.where(tl.abs(x) < float("inf"), x, 0.0)
