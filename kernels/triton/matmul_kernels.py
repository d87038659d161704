"""The matrix products' kernels. A program takes CHANNELS rows of the weights times TOKENS rows of the activations.

A sum's order is the same in all of them: each part of K alone, and then the parts in their order.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .part_kernels import sum_part

# Tiles of tokens that take turns at a tile of the weights, so that what they share stays in the cache.
_TURNS = tl.constexpr(8)


@triton.jit
def _finished(
    total: tl.tensor,
    token_scales: tl.tensor,
    channel_scales: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    token: tl.tensor,
    channel: tl.tensor,
    tokens: tl.tensor,
    channels: tl.tensor,
) -> tl.tensor:
    """A tile's sums, scaled and added to what they are added to: float32. ``token`` and ``channel`` broadcast to its shape."""
    value = total.to(tl.float32)
    if token_scales is not None:
        scale = tl.load(token_scales + token, mask=token < tokens, other=0)
        value = value * scale * tl.load(channel_scales + channel, mask=channel < channels, other=0)
    if bias is not None:
        value = value + tl.load(bias + channel, mask=channel < channels, other=0)
    if residual is not None:
        place = token.to(tl.int64) * channels + channel
        value = tl.load(residual + place, mask=(token < tokens) & (channel < channels), other=0) + value
    return value


@triton.jit(do_not_specialize=["tokens"])
def multiply(
    x: tl.tensor,
    values: tl.tensor,
    scales: tl.tensor,
    zeros: tl.tensor,
    out: tl.tensor,
    token_scales: tl.tensor,
    channel_scales: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    tokens: tl.tensor,
    channels: tl.tensor,
    columns: tl.tensor,
    PART_COLUMNS: tl.constexpr,
    PARTS: tl.constexpr,
    APART: tl.constexpr,
    CHANNELS: tl.constexpr,
    TOKENS: tl.constexpr,
    BITS: tl.constexpr,
    STEP: tl.constexpr,
    GROUP: tl.constexpr,
    SHARING: tl.constexpr,
) -> None:
    """x [M, K] @ weights.T: float32 ``out`` [M, N], or with APART the sums of each part, ``out`` [PARTS, M, N] in their own type.

    Weights are ``values`` [N, K] for BITS 0, else the words, scales and zero points of CodedWeight.
    """
    tiles_along_n = tl.cdiv(channels, CHANNELS)
    tile_n, tile_m = tl.program_id(0) % tiles_along_n, tl.program_id(0) // tiles_along_n
    tile_m, tile_n = tl.swizzle2d(tile_m, tile_n, tl.cdiv(tokens, TOKENS), tiles_along_n, _TURNS)
    token = tile_m * TOKENS + tl.arange(0, TOKENS)
    channel = tile_n * CHANNELS + tl.arange(0, CHANNELS)
    nothing = tl.zeros((CHANNELS, TOKENS), dtype=tl.int32 if x.dtype.element_ty == tl.int8 else tl.float32)
    inside = (token < tokens)[None, :] & (channel < channels)[:, None]
    place = token.to(tl.int64)[None, :] * channels + channel[:, None]
    if APART:
        part = tl.program_id(1)
        total = sum_part(
            x,
            values,
            scales,
            zeros,
            token,
            channel,
            part,
            tokens,
            channels,
            columns,
            nothing,
            PART_COLUMNS,
            BITS,
            STEP,
            GROUP,
            SHARING,
        )
        tl.store(out + part * tokens * channels + place, total, mask=inside)
    else:
        total = nothing
        for part in range(PARTS):
            total += sum_part(
                x,
                values,
                scales,
                zeros,
                token,
                channel,
                part,
                tokens,
                channels,
                columns,
                nothing,
                PART_COLUMNS,
                BITS,
                STEP,
                GROUP,
                SHARING,
            )
        value = _finished(
            total,
            token_scales,
            channel_scales,
            bias,
            residual,
            token[None, :],
            channel[:, None],
            tokens,
            channels,
        )
        tl.store(out + place, value, mask=inside)


@triton.jit(do_not_specialize=["tokens"])
def add_parts(
    sums: tl.tensor,
    out: tl.tensor,
    token_scales: tl.tensor,
    channel_scales: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    tokens: tl.tensor,
    channels: tl.tensor,
    PARTS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """out [M, N] float32 of the parts' sums [PARTS, M, N], added in their order: as ``multiply`` does without APART."""
    token = tl.program_id(1)
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    place = token.to(tl.int64) * channels + channel
    total = tl.zeros((CHANNELS,), dtype=sums.dtype.element_ty)
    for part in range(PARTS):
        total += tl.load(sums + part * tokens * channels + place, mask=channel < channels, other=0)
    value = _finished(total, token_scales, channel_scales, bias, residual, token, channel, tokens, channels)
    tl.store(out + place, value, mask=channel < channels)
