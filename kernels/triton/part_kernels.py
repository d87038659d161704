"""The sums over one part of K, for each kind of weights: [CHANNELS, TOKENS], STEP columns after STEP columns.

For coded weights group by group: a group's sum is of whole numbers less their zero point, which bfloat16 holds exactly, and is scaled in
float32. The number of tokens appears in none of it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .arithmetic import product

# The bits of 2^23 in float32: with a whole number below it in the lowest 23 of them, they are 2^23 + that number.
_BIAS = tl.constexpr(0x4B000000)


@triton.jit
def _plain_part(
    x: tl.tensor,
    values: tl.tensor,
    token: tl.tensor,
    channel: tl.tensor,
    first: tl.tensor,
    last: tl.tensor,
    tokens: tl.tensor,
    channels: tl.tensor,
    columns: tl.tensor,
    total: tl.tensor,
    STEP: tl.constexpr,
) -> tl.tensor:
    """total + weights [N, K] @ x [M, K].T over the columns from ``first`` to ``last``: [CHANNELS, TOKENS]."""
    run = tl.arange(0, STEP)
    row = channel.to(tl.int64)[:, None] * columns
    for column in range(first, last, STEP):
        place = column + run
        inside = place < columns
        weight = tl.load(values + row + place[None, :], mask=(channel < channels)[:, None] & inside[None, :], other=0)
        a = tl.load(
            x + token[None, :] * columns + place[:, None], mask=(token < tokens)[None, :] & inside[:, None], other=0
        )
        total = product(weight, a, total)
    return total


@triton.jit
def _codes(words: tl.tensor, zero: tl.tensor, PLACE: tl.constexpr, BITS: tl.constexpr) -> tl.tensor:
    """The codes at a place of int32 words [N, STEP] less their zero points [N], float32 and exact.

    One logical operation makes a float32 of a code where it lies in the word, and one multiplication with an addition brings it
    down to its size: converting whole numbers to floats runs at a fraction of the rate of either.
    """
    FITTING: tl.constexpr = 23 // BITS
    SHIFT: tl.constexpr = PLACE // FITTING * FITTING * BITS
    LEFT: tl.constexpr = PLACE % FITTING * BITS
    MASK: tl.constexpr = ((1 << BITS) - 1) << LEFT
    SIZE: tl.constexpr = 1.0 / (1 << LEFT)
    lifted = (((words >> SHIFT) & MASK) | _BIAS).to(tl.float32, bitcast=True)
    return tl.fma(lifted, SIZE, -(zero + 8388608.0 * SIZE)[:, None])


@triton.jit
def _coded_part(
    x: tl.tensor,
    words: tl.tensor,
    scales: tl.tensor,
    zeros: tl.tensor,
    token: tl.tensor,
    channel: tl.tensor,
    first: tl.tensor,
    last: tl.tensor,
    tokens: tl.tensor,
    channels: tl.tensor,
    columns: tl.tensor,
    total: tl.tensor,
    BITS: tl.constexpr,
    STEP: tl.constexpr,
    GROUP: tl.constexpr,
    SHARING: tl.constexpr,
) -> tl.tensor:
    """As ``_plain_part`` for the words of CodedWeight. SHARING columns of a tile, a multiple of STEP, are in one group."""
    PLACES: tl.constexpr = 32 // BITS
    run = tl.arange(0, STEP)
    known = channel < channels
    for column in range(first, last, PLACES * STEP):
        row = (column // (PLACES * STEP) * channels + channel).to(tl.int64)
        word = tl.load(words + row[:, None] * STEP + run[None, :], mask=known[:, None], other=0)
        shared = tl.zeros_like(total)
        scale = tl.zeros_like(channel).to(tl.float32)
        zero = scale
        for place in tl.static_range(PLACES):
            begin = column + place * STEP
            if (place * STEP) % SHARING == 0:
                group = begin // GROUP * channels + channel
                there = known & (begin < columns)
                shared = tl.zeros_like(total)
                scale = tl.load(scales + group, mask=there, other=0).to(tl.float32)
                if zeros is None:
                    zero = tl.zeros_like(scale) + (1 << (BITS - 1))
                else:
                    zero = tl.load(zeros + group, mask=there, other=0).to(tl.float32)
            here = begin + run
            a = tl.load(
                x + token[None, :] * columns + here[:, None],
                mask=(token < tokens)[None, :] & (here < columns)[:, None],
                other=0,
            )
            shared = product(_codes(word, zero, place, BITS).to(a.dtype), a, shared)
            if ((place + 1) * STEP) % SHARING == 0:
                total = tl.fma(shared, scale[:, None], total)
    return total


@triton.jit
def sum_part(
    x: tl.tensor,
    values: tl.tensor,
    scales: tl.tensor,
    zeros: tl.tensor,
    token: tl.tensor,
    channel: tl.tensor,
    part: tl.tensor,
    tokens: tl.tensor,
    channels: tl.tensor,
    columns: tl.tensor,
    total: tl.tensor,
    PART_COLUMNS: tl.constexpr,
    BITS: tl.constexpr,
    STEP: tl.constexpr,
    GROUP: tl.constexpr,
    SHARING: tl.constexpr,
) -> tl.tensor:
    """total + one part of K."""
    first = part * PART_COLUMNS
    last = tl.minimum(first + PART_COLUMNS, columns)
    if BITS == 0:
        total = _plain_part(x, values, token, channel, first, last, tokens, channels, columns, total, STEP)
    else:
        total = _coded_part(
            x,
            values,
            scales,
            zeros,
            token,
            channel,
            first,
            last,
            tokens,
            channels,
            columns,
            total,
            BITS,
            STEP,
            GROUP,
            SHARING,
        )
    return total
