"""Matrix products of activations with the weights of weights.py: float32 results, whatever the number of tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import triton

from .arithmetic import EXACT
from .matmul_kernels import add_parts, multiply
from .tiles import Split, Tile, choose_tile, split_along_k
from .weights import CodedWeight, DenseWeight, Int8Weight, Weight

# Elements of one row of the result that a program of ``add_parts`` takes.
_CHANNELS_ADDED = 512


def linear(
    x: Tensor,
    weight: Weight,
    *,
    token_scales: Tensor | None = None,
    residual: Tensor | None = None,
    tile: Tile | None = None,
) -> Tensor:
    """x [M, K] @ weight.T (+ bias), float32 [M, N]; added to ``residual`` [M, N] in place if there is one.

    ``x`` has the weights' dtype, or bfloat16 for coded ones; int8 for int8 ones, with ``token_scales`` float32 [M, 1]. A row's
    result is the same to the bit for any M and any ``tile`` (the one that fits M, unless a test asks for another).
    """
    tokens, columns = x.shape
    channels = weight.shape[0]
    assert columns == weight.shape[1]
    assert x.is_contiguous()
    out = torch.empty(tokens, channels, dtype=torch.float32, device=x.device) if residual is None else residual
    split = split_along_k(channels, columns)
    if tile is None:
        tile = choose_tile(tokens, channels, split, coded=isinstance(weight, CodedWeight))
    int8 = isinstance(weight, Int8Weight)
    sums = out
    if tile.apart:
        dtype = torch.int32 if int8 else torch.float32
        sums = torch.empty(split.parts, tokens, channels, dtype=dtype, device=x.device)
    finishing = {
        "token_scales": token_scales,
        "channel_scales": weight.scales if isinstance(weight, Int8Weight) else None,
        "bias": weight.bias,
        "residual": residual,
    }
    _multiply(x, weight, sums, split, tile, finishing)
    if tile.apart:
        grid = (triton.cdiv(channels, _CHANNELS_ADDED), tokens)
        add_parts[grid](
            sums,
            out,
            **finishing,
            tokens=tokens,
            channels=channels,
            PARTS=split.parts,
            CHANNELS=_CHANNELS_ADDED,
            **EXACT,
        )
    return out


def _multiply(
    x: Tensor, weight: Weight, out: Tensor, split: Split, tile: Tile, finishing: dict[str, Tensor | None]
) -> None:
    """Start ``multiply`` over all tiles of the result, and over all parts of K if they are summed apart."""
    tokens, columns = x.shape
    channels = weight.shape[0]
    tiles = triton.cdiv(channels, tile.channels) * triton.cdiv(tokens, tile.tokens)
    layout: dict[str, Any]
    if isinstance(weight, CodedWeight):
        values, scales, zeros = weight.words, weight.scales, weight.zeros
        layout = {"BITS": weight.bits, "STEP": weight.step, "GROUP": weight.group_size, "SHARING": weight.sharing}
    else:
        values, scales, zeros = weight.values, None, None
        # 128 bytes of a row, as memory is read; and one group without scales.
        layout = {"BITS": 0, "STEP": 64 if isinstance(weight, DenseWeight) else 128, "GROUP": 1, "SHARING": 1}
    multiply[tiles, split.parts if tile.apart else 1](
        x,
        values,
        scales,
        zeros,
        out,
        **finishing,
        tokens=tokens,
        channels=channels,
        columns=columns,
        PART_COLUMNS=split.columns,
        PARTS=split.parts,
        APART=tile.apart,
        CHANNELS=tile.channels,
        TOKENS=tile.tokens,
        **layout,
        num_warps=tile.warps,
        num_stages=tile.stages,
        **EXACT,
    )
