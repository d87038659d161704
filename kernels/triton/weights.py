"""Weights as the matrix products read them, made once when they are loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pennyweight.kernels.quantised import QuantisedLinear, Scheme, joined, round_to_nearest

# Columns that one place in the words of coded weights stands for, at most and at least (tensor cores take 16 at once).
_WIDEST_STEP = 32
_NARROWEST_STEP = 16


@dataclass(frozen=True, slots=True)
class DenseWeight:
    """bfloat16 [N, K] (float32 in tests)."""

    values: Tensor
    bias: Tensor | None

    @property
    def shape(self) -> torch.Size:
        """[N, K]."""
        return self.values.shape

    @property
    def nbytes(self) -> int:
        return self.values.nbytes


@dataclass(frozen=True, slots=True)
class Int8Weight:
    """int8 [N, K] with a float32 scale for each channel [N], for int8 activations with a scale for each token."""

    values: Tensor
    scales: Tensor
    bias: Tensor | None

    @property
    def shape(self) -> torch.Size:
        """[N, K]."""
        return self.values.shape

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.scales.nbytes


@dataclass(frozen=True, slots=True)
class CodedWeight:
    """Weights (code - zero) * scale of 4 or 8 ``bits``, in groups of ``group_size`` columns.

    ``words`` int32 [tiles, N, step] hold 32 / bits codes each. A tile is 32 / bits runs of ``step`` columns, and the code at
    bits * i of a word is of the tile's i-th run: taking the words apart moves nothing between threads, and a tile of channels lies
    in memory in one piece. ``scales`` [G, N] are float16 where that loses nothing, else float32; ``zeros`` uint8 [G, N].
    Columns that fill up the last tile have the code 0, and meet activations of 0.
    """

    words: Tensor
    scales: Tensor
    zeros: Tensor | None
    bias: Tensor | None
    columns: int
    bits: int
    group_size: int

    @property
    def shape(self) -> torch.Size:
        """[N, K]."""
        return torch.Size((self.words.shape[1], self.columns))

    @property
    def step(self) -> int:
        return self.words.shape[2]

    @property
    def sharing(self) -> int:
        """Columns of a tile that are in one group, wherever the tile lies."""
        return math.gcd(self.group_size, 32 // self.bits * self.step)

    @property
    def nbytes(self) -> int:
        return self.words.nbytes + self.scales.nbytes + (0 if self.zeros is None else self.zeros.nbytes)


Weight = DenseWeight | Int8Weight | CodedWeight


def prepare_weight(
    parts: Sequence[Tensor | QuantisedLinear],
    bias: Tensor | None,
    device: torch.device,
    *,
    int8: bool,
    dtype: torch.dtype = torch.bfloat16,
) -> Weight:
    """Weights [N_i, K] joined along N. ``int8`` rounds those that come as floats to it; else they become ``dtype``.

    Quantised parts that can't be joined, or whose groups are no multiple of 16 columns, become the ``dtype`` that they stand for.
    """
    quantised = [part for part in parts if isinstance(part, QuantisedLinear)]
    if len(quantised) == len(parts) and quantised[0].scheme is not Scheme.W8A8:
        whole = joined(quantised)
        if whole is not None and math.gcd(whole.group_size, _WIDEST_STEP) >= _NARROWEST_STEP:
            return _coded(whole, bias, device)
    if all(part.scheme is Scheme.W8A8 if isinstance(part, QuantisedLinear) else int8 for part in parts):
        rounded = [part if isinstance(part, QuantisedLinear) else round_to_nearest(part, Scheme.W8A8) for part in parts]
        scales = torch.cat([part.scales[:, 0] for part in rounded])
        return Int8Weight(torch.cat([part.values for part in rounded]).to(device), scales.to(device), bias)
    rows = [(part.dequantised() if isinstance(part, QuantisedLinear) else part).to(device, dtype) for part in parts]
    return DenseWeight(torch.cat(rows), bias)


def pack_codes(codes: Tensor, bits: int, step: int) -> Tensor:
    """uint8 codes [N, K] of ``bits`` bits as the words of CodedWeight, int32 [ceil(K / (step * 32 / bits)), N, step]."""
    rows, columns = codes.shape
    places = 32 // bits
    tiles = -(-columns // (places * step))
    padded = torch.zeros(rows, tiles * places * step, dtype=torch.uint8, device=codes.device)
    padded[:, :columns] = codes
    words = torch.zeros(tiles, rows, step, dtype=torch.int32, device=codes.device)
    for place, run in enumerate(padded.view(rows, tiles, places, step).unbind(2)):
        words |= run.transpose(0, 1).to(torch.int32) << (bits * place)
    return words


def _coded(whole: QuantisedLinear, bias: Tensor | None, device: torch.device) -> CodedWeight:
    scales = whole.scales.to(device).t().contiguous()
    narrow = scales.half()
    step = math.gcd(whole.group_size, _WIDEST_STEP)
    return CodedWeight(
        words=pack_codes(whole.values.to(device), whole.scheme.bits, step),
        scales=narrow if torch.equal(narrow.float(), scales) else scales,
        zeros=None if whole.zeros is None else whole.zeros.to(device).t().contiguous(),
        bias=bias,
        columns=whole.shape[1],
        bits=whole.scheme.bits,
        group_size=whole.group_size,
    )
