"""Finding thresholds in a row of logits without sorting it, by reading it a fixed number of times.

The k-th largest logit, and the one down to which the most probable tokens make up top-p, are found digit by digit: a float32 is an
unsigned number in the same order, and one reading of the row tells which of 16 digits comes next. Sums are taken block after block.
"""

from __future__ import annotations

import triton
import triton.language as tl

# What a search measures of the tokens: how many are at or above a candidate (a logit's key), how much of the weight is, or, with a minus
# sign, how many of those at the threshold come before a candidate (a token id).
COUNT = tl.constexpr(0)
WEIGHT = tl.constexpr(1)
BEFORE = tl.constexpr(2)


@triton.jit
def key_of(x: tl.tensor) -> tl.tensor:
    """A number of float32 in the order of the floats, as uint32. Both zeros are one."""
    bits = (x + 0.0).to(tl.uint32, bitcast=True)
    return tl.where(bits >= 0x80000000, bits ^ 0xFFFFFFFF, bits | 0x80000000)


@triton.jit
def value_of(key: tl.tensor) -> tl.tensor:
    """The number whose key it is."""
    bits = tl.where(key >= 0x80000000, key ^ 0x80000000, key ^ 0xFFFFFFFF)
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def measure(
    row: tl.tensor,
    candidates: tl.tensor,
    threshold: tl.tensor,
    largest: tl.tensor,
    temperature: tl.tensor,
    size: tl.tensor,
    KIND: tl.constexpr,
    BLOCK: tl.constexpr,
) -> tl.tensor:
    """Float32 for each candidate [16]. Weights are of the tokens above ``threshold`` alone; both are keys."""
    total = tl.zeros_like(candidates).to(tl.float32)
    for first in range(0, size, BLOCK):
        token = first + tl.arange(0, BLOCK)
        logit = tl.load(row + token, mask=token < size, other=float("-inf"))
        key = key_of(logit)
        if KIND == COUNT:
            counted = (key[None, :] >= candidates[:, None]) & (token < size)[None, :]
            total += tl.sum(counted.to(tl.int32), axis=1).to(tl.float32)
        elif KIND == WEIGHT:
            weight = tl.where(key > threshold, tl.exp(tl.div_rn(logit - largest, temperature)), 0.0)
            total += tl.sum(tl.where(key[None, :] >= candidates[:, None], weight[None, :], 0.0), axis=1)
        else:
            counted = (key == threshold)[None, :] & (token.to(tl.uint32)[None, :] < candidates[:, None])
            total -= tl.sum((counted & (token < size)[None, :]).to(tl.int32), axis=1).to(tl.float32)
    return total


@triton.jit
def search(
    row: tl.tensor,
    wanted: tl.tensor,
    threshold: tl.tensor,
    tied_weight: tl.tensor,
    largest: tl.tensor,
    temperature: tl.tensor,
    size: tl.tensor,
    KIND: tl.constexpr,
    BLOCK: tl.constexpr,
) -> tl.tensor:
    """The largest uint32 whose measure is at least ``wanted``, for measures that don't rise.

    ``tied_weight`` is what the tokens at ``threshold`` add to the weight of candidates that are not above it.
    """
    found = tl.zeros((), tl.uint32)
    for digit in tl.static_range(8):
        shift = 28 - 4 * digit
        candidates = found | (tl.arange(0, 16).to(tl.uint32) << shift)
        measured = measure(row, candidates, threshold, largest, temperature, size, KIND, BLOCK)
        if KIND == WEIGHT:
            measured += tl.where(candidates <= threshold, tied_weight, 0.0)
        reached = tl.sum((measured >= wanted).to(tl.int32), axis=0)
        found = found | (tl.maximum(reached - 1, 0).to(tl.uint32) << shift)
    return found
