"""Attention over the paged cache. A program takes ROWS queries that share a head of keys and values.

Softmax is computed as it goes along (Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867; Dao
et al., "FlashAttention", arXiv:2205.14135), in a fixed order: the context is cut into splits of SPLIT tokens at fixed places, each is
taken from nothing, TILE tokens after TILE tokens, and the splits are merged in order. One program may take a split alone, and leave its
part to ``merge_splits`` (Dao et al., "Flash-Decoding", 2023), or take them all: the bits are the same, for a token that is
decoded and for the same token in a prompt, in whatever pieces.

Keys are rows and queries columns of the scores (see ``product``). Whatever adds up over a tile's tokens does so in a tensor core,
token after token, or in whole numbers, since the order in which ``tl.sum`` adds depends on how the tile lies over the threads.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .arithmetic import product, rounded

# Below every score, and finite: what it is taken from is no number only if a score is none.
_LOWEST = tl.constexpr(-1e30)
# A tile's weights of at most 1 each, in units of 2^-24: the sum of 64 of them fits into an int32.
_UNITS = tl.constexpr(16777216.0)
_LARGEST_TILE = tl.constexpr(64)


@triton.jit
def _merge(
    largest: tl.tensor,
    weight: tl.tensor,
    total: tl.tensor,
    split_largest: tl.tensor,
    split_weight: tl.tensor,
    split_total: tl.tensor,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Softmax over what came before and a split: largest score and sum of weights [C], weighted sum of values [D, C]."""
    higher = tl.maximum(largest, split_largest)
    before, now = tl.exp2(largest - higher), tl.exp2(split_largest - higher)
    return (
        higher,
        weight * before + split_weight * now,
        total * before[None, :] + split_total * now[None, :],
    )


@triton.jit
def _attend_split(
    query: tl.tensor,
    position: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    table: tl.tensor,
    kv_head: tl.tensor,
    first: tl.tensor,
    last: tl.tensor,
    scale: float,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    TILE: tl.constexpr,
    ROWS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Attention of query [WIDTH, ROWS], at ``position`` [ROWS], over the tokens from ``first`` to ``last``: as ``_merge`` takes it."""
    largest = tl.full((ROWS,), _LOWEST, tl.float32)
    weight = tl.zeros((ROWS,), tl.float32)
    total = tl.zeros((WIDTH, ROWS), tl.float32)
    column = tl.arange(0, WIDTH)
    for begin in range(first, last, TILE):
        token = begin + tl.arange(0, TILE)
        known = token < last
        block = tl.load(table + token // BLOCK_SIZE, mask=known, other=0).to(tl.int64)
        row = (block * KV_HEADS + kv_head) * BLOCK_SIZE + token % BLOCK_SIZE
        place = row[:, None] * DIM + column[None, :]
        inside = known[:, None] & (column < DIM)[None, :]
        key = tl.load(keys + place, mask=inside, other=0)
        scores = product(key, query, tl.zeros((TILE, ROWS), tl.float32)) * scale
        scores = tl.where(known[:, None] & (token[:, None] <= position[None, :]), scores, float("-inf"))
        higher = tl.maximum(largest, tl.max(scores, axis=0))
        before = tl.exp2(largest - higher)
        shares = tl.exp2(scores - higher[None, :])
        units = tl.sum((shares * _UNITS).to(tl.int32), axis=0)
        weight = weight * before + units.to(tl.float32) * (1.0 / _UNITS)
        value = tl.load(values + place, mask=inside, other=0)
        total = product(tl.trans(value), rounded(shares, value.dtype), total * before[None, :])
        largest = higher
    return largest, weight, total


@triton.jit
def attend_single(
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    query_start: tl.tensor,
    context_lens: tl.tensor,
    block_tables: tl.tensor,
    table_width: tl.tensor,
    split_largest: tl.tensor,
    split_weight: tl.tensor,
    split_total: tl.tensor,
    scale: float,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    SPLIT: tl.constexpr,
    TILE: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """One split of one sequence that has one new token (nothing of others), for all queries of a head of keys.

    Grid (splits, KV_HEADS, S). Gives ``split_largest`` and ``split_weight`` [S, splits, HEADS] and ``split_total`` [S, splits, HEADS, DIM].
    """
    split, kv_head, seq = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    tl.static_assert(TILE <= _LARGEST_TILE)
    row = tl.load(query_start + seq)
    context = tl.load(context_lens + seq)
    if (tl.load(query_start + seq + 1) - row != 1) | (split * SPLIT >= context):
        return
    GROUP: tl.constexpr = HEADS // KV_HEADS
    column, member = tl.arange(0, WIDTH), tl.arange(0, ROWS)
    head = kv_head * GROUP + member
    inside = (column < DIM)[:, None] & (member < GROUP)[None, :]
    query = tl.load(queries + (row * HEADS + head)[None, :] * DIM + column[:, None], mask=inside, other=0)
    largest, weight, total = _attend_split(
        query,
        tl.zeros((ROWS,), tl.int32) + context - 1,
        keys,
        values,
        block_tables + seq.to(tl.int64) * table_width,
        kv_head,
        split * SPLIT,
        tl.minimum((split + 1) * SPLIT, context),
        scale,
        KV_HEADS,
        DIM,
        WIDTH,
        BLOCK_SIZE,
        TILE,
        ROWS,
    )
    place = (seq * tl.num_programs(0) + split).to(tl.int64) * HEADS + head
    tl.store(split_largest + place, largest, mask=member < GROUP)
    tl.store(split_weight + place, weight, mask=member < GROUP)
    tl.store(split_total + place[None, :] * DIM + column[:, None], total, mask=inside)


@triton.jit
def merge_splits(
    split_largest: tl.tensor,
    split_weight: tl.tensor,
    split_total: tl.tensor,
    query_start: tl.tensor,
    context_lens: tl.tensor,
    out: tl.tensor,
    splits: tl.tensor,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    SPLIT: tl.constexpr,
) -> None:
    """One head of one sequence that has one new token: ``out`` [T, HEADS, DIM] of what ``attend_single`` gives. Grid (HEADS, S)."""
    head, seq = tl.program_id(0), tl.program_id(1)
    row = tl.load(query_start + seq)
    if tl.load(query_start + seq + 1) - row != 1:
        return
    column = tl.arange(0, WIDTH)
    inside = (column < DIM)[:, None]
    largest = tl.full((1,), _LOWEST, tl.float32)
    weight = tl.zeros((1,), tl.float32)
    total = tl.zeros((WIDTH, 1), tl.float32)
    nothing = tl.zeros((1,), tl.int64)
    for split in range(tl.cdiv(tl.load(context_lens + seq), SPLIT)):
        place = nothing + (seq * splits + split) * HEADS + head
        largest, weight, total = _merge(
            largest,
            weight,
            total,
            tl.load(split_largest + place),
            tl.load(split_weight + place),
            tl.load(split_total + place[None, :] * DIM + column[:, None], mask=inside, other=0),
        )
    place = (nothing + row * HEADS + head)[None, :] * DIM + column[:, None]
    result = tl.div_rn(total, weight[None, :] + tl.zeros_like(total))
    tl.store(out + place, rounded(result, out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["seqs"])
def attend_many(
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    query_start: tl.tensor,
    context_lens: tl.tensor,
    block_tables: tl.tensor,
    table_width: tl.tensor,
    out: tl.tensor,
    seqs: tl.tensor,
    scale: float,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    SPLIT: tl.constexpr,
    TILE: tl.constexpr,
    ROWS: tl.constexpr,
    SINGLES: tl.constexpr,
) -> None:
    """All of the context of ROWS / group consecutive tokens of one sequence, for all queries of a head of keys: ``out`` [T, HEADS, DIM].

    Grid (T // (ROWS / group) + S, KV_HEADS): as many tiles of tokens as there can be, whatever the sequences' lengths. Sequences
    with one new token are taken with SINGLES only.
    """
    tl.static_assert(TILE <= _LARGEST_TILE)
    GROUP: tl.constexpr = HEADS // KV_HEADS
    TOKENS: tl.constexpr = ROWS // GROUP
    kv_head = tl.program_id(1)
    # Sequence s has the tiles from query_start[s] // TOKENS + s on: the last s whose first tile isn't beyond this one.
    low, high = 0, seqs - 1
    while low < high:
        middle = (low + high + 1) // 2
        if tl.load(query_start + middle) // TOKENS + middle <= tl.program_id(0):
            low = middle
        else:
            high = middle - 1
    start, end = tl.load(query_start + low), tl.load(query_start + low + 1)
    begin = (tl.program_id(0) - start // TOKENS - low) * TOKENS
    if begin >= end - start:
        return
    if (not SINGLES) & (end - start == 1):
        return
    column, member = tl.arange(0, WIDTH), tl.arange(0, ROWS)
    token = begin + member // GROUP
    valid = (member < TOKENS * GROUP) & (token < end - start)
    head = kv_head * GROUP + member % GROUP
    place = ((start + token).to(tl.int64) * HEADS + head)[None, :] * DIM + column[:, None]
    inside = (column < DIM)[:, None] & valid[None, :]
    query = tl.load(queries + place, mask=inside, other=0)
    computed = tl.load(context_lens + low) - (end - start)
    context = computed + tl.minimum(begin + TOKENS, end - start)
    largest = tl.full((ROWS,), _LOWEST, tl.float32)
    weight = tl.zeros((ROWS,), tl.float32)
    total = tl.zeros((WIDTH, ROWS), tl.float32)
    for split in range(tl.cdiv(context, SPLIT)):
        split_largest, split_weight, split_total = _attend_split(
            query,
            computed + token,
            keys,
            values,
            block_tables + (tl.zeros((), tl.int64) + low) * table_width,
            kv_head,
            split * SPLIT,
            tl.minimum((split + 1) * SPLIT, context),
            scale,
            KV_HEADS,
            DIM,
            WIDTH,
            BLOCK_SIZE,
            TILE,
            ROWS,
        )
        largest, weight, total = _merge(largest, weight, total, split_largest, split_weight, split_total)
    result = tl.div_rn(total, weight[None, :] + tl.zeros_like(total))
    tl.store(out + place, rounded(result, out.dtype.element_ty), mask=inside)
