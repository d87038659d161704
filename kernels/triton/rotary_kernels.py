"""From the product with the weights of queries, keys and values to rotated queries, and keys and values in the cache."""

from __future__ import annotations

import triton
import triton.language as tl

from .arithmetic import finite, rounded


@triton.jit
def rotate_and_store(
    qkv: tl.tensor,
    q_norm: tl.tensor,
    k_norm: tl.tensor,
    eps: float,
    cos: tl.tensor,
    sin: tl.tensor,
    positions: tl.tensor,
    slots: tl.tensor,
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
) -> None:
    """All heads of one token of float32 ``qkv`` [T, HEADS + 2 * KV_HEADS, DIM]: queries, keys and values.

    Queries and keys are normed by RMS (where there are norms), and rotated by halves (Su et al., "RoFormer", arXiv:2104.09864).
    Queries go to ``queries`` [T, HEADS, DIM]; keys and values to one layer's cache [num_blocks, KV_HEADS, BLOCK_SIZE, DIM], with 0 for
    what is not finite, as it would spoil whoever gets the block next. ROWS and WIDTH are powers of two that cover the heads and half of
    one.
    """
    token = tl.program_id(0)
    HALF: tl.constexpr = DIM // 2
    TYPE: tl.constexpr = queries.dtype.element_ty
    head, column = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    inside = (head < HEADS + 2 * KV_HEADS)[:, None] & (column < HALF)[None, :]
    source = token.to(tl.int64) * (HEADS + 2 * KV_HEADS) * DIM + head[:, None] * DIM + column[None, :]
    first = tl.load(qkv + source, mask=inside, other=0)
    second = tl.load(qkv + source + HALF, mask=inside, other=0)
    is_query, is_value = (head < HEADS)[:, None], (head >= HEADS + KV_HEADS)[:, None]
    left, right = first, second
    if q_norm is not None:
        squares = tl.sum(first * first, axis=1) + tl.sum(second * second, axis=1)
        inverse = tl.rsqrt(squares / DIM + eps)[:, None]
        left *= inverse * _norm_weight(q_norm, k_norm, column, is_query, HALF)
        right *= inverse * _norm_weight(q_norm + HALF, k_norm + HALF, column, is_query, HALF)
    angle = tl.load(positions + token) * HALF + column
    c = tl.load(cos + angle, mask=column < HALF, other=0)[None, :]
    s = tl.load(sin + angle, mask=column < HALF, other=0)[None, :]
    first, second = (
        rounded(tl.where(is_value, first, left * c - right * s), TYPE),
        rounded(tl.where(is_value, second, right * c + left * s), TYPE),
    )
    target = queries + token.to(tl.int64) * HEADS * DIM + head[:, None] * DIM + column[None, :]
    tl.store(target, first, mask=inside & is_query)
    tl.store(target + HALF, second, mask=inside & is_query)
    first = rounded(finite(first.to(tl.float32)), TYPE)
    second = rounded(finite(second.to(tl.float32)), TYPE)
    slot = tl.load(slots + token).to(tl.int64)
    kv_head = (head - HEADS) % KV_HEADS
    row = (slot // BLOCK_SIZE * KV_HEADS + kv_head) * BLOCK_SIZE + slot % BLOCK_SIZE
    place = row[:, None] * DIM + column[None, :]
    is_key = (is_query | is_value) == 0
    tl.store(keys + place, first, mask=inside & is_key)
    tl.store(keys + place + HALF, second, mask=inside & is_key)
    tl.store(values + place, first, mask=inside & is_value)
    tl.store(values + place + HALF, second, mask=inside & is_value)


@triton.jit
def _norm_weight(
    q_norm: tl.tensor, k_norm: tl.tensor, column: tl.tensor, is_query: tl.tensor, HALF: tl.constexpr
) -> tl.tensor:
    """Half of a norm's weight for each head [ROWS, WIDTH]."""
    for_query = tl.load(q_norm + column, mask=column < HALF, other=0)[None, :]
    for_key = tl.load(k_norm + column, mask=column < HALF, other=0)[None, :]
    return tl.where(is_query, for_query, for_key)
