"""How a matrix product is cut up."""

from __future__ import annotations

from dataclasses import dataclass

import triton

# Parts of K are multiples of it: the widest tile of any kind of weights, so that all kinds are split alike.
PART_STEP = 256
# A part along K is at least so long, as each costs a row of partial sums.
SHORTEST_PART = 1024
# The programs that a product of few tokens is cut into, if K allows. It is meant for cards of 100 to 150 multiprocessors, and is no
# function of the card, so that all cards add in the same order.
PROGRAMS = 512
_CHANNELS = 64


@dataclass(frozen=True, slots=True)
class Split:
    """K in ``parts`` parts of ``columns`` columns each, the last one shorter. Each is summed alone, and their sums in order."""

    parts: int
    columns: int


@dataclass(frozen=True, slots=True)
class Tile:
    """One program's share: ``channels`` of the weights times ``tokens``, by ``warps`` warps with ``stages`` loads under way.

    ``apart``: a program takes one part of K and leaves its sum to a second kernel; else it takes all parts, one after the other.
    """

    channels: int
    tokens: int
    warps: int
    stages: int
    apart: bool


def split_along_k(channels: int, columns: int) -> Split:
    """By the weights' shape [N, K] alone: never by the tokens, nor by the card."""
    wanted = triton.cdiv(PROGRAMS, triton.cdiv(channels, _CHANNELS))
    parts = max(1, min(wanted, columns // SHORTEST_PART))
    width = triton.cdiv(triton.cdiv(columns, parts), PART_STEP) * PART_STEP
    return Split(triton.cdiv(columns, width), width)


def choose_tile(tokens: int, channels: int, split: Split, *, coded: bool) -> Tile:
    """By the number of tokens too, as no sum depends on it. Taking ``coded`` weights apart needs registers."""
    if tokens <= 64:
        return Tile(_CHANNELS, max(16, triton.next_power_of_2(tokens)), warps=4, stages=4, apart=split.parts > 1)
    # Parts are summed apart as long as there are too few tiles for the card without that.
    if triton.cdiv(tokens, 128) * triton.cdiv(channels, 128) < PROGRAMS // 4:
        return Tile(_CHANNELS, 64, warps=4, stages=4, apart=split.parts > 1)
    return Tile(128, 64 if coded else 128, warps=8, stages=2 if coded else 3, apart=False)
