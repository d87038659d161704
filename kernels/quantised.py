"""Weights of four and eight bits: the one form that every checkpoint's format is brought to, and that every kernel takes."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

# Groups along K are cut to at most so many columns, so that a group's exact sums fit into 32 bits.
LARGEST_GROUP = 128
# A step of the kernels along K: groups are multiples of it.
GROUP_STEP = 8


class Scheme(enum.StrEnum):
    """What is multiplied with what.

    W8A8: int8 weights, one scale for each channel, times int8 activations, one scale for each token, made on the fly.
    W8A16 and W4A16: unsigned codes of 8 or 4 bits with a scale and a zero point for each group of columns, times activations of
    16 bits (bfloat16, or int16 with a scale for each token).
    """

    W8A8 = "w8a8"
    W8A16 = "w8a16"
    W4A16 = "w4a16"

    @property
    def bits(self) -> int:
        """Of a weight."""
        return 4 if self is Scheme.W4A16 else 8


@dataclass(frozen=True, slots=True)
class QuantisedLinear:
    """A projection's weights [N, K], which are (values - zeros) * scales, group by group along K.

    W8A8: ``values`` int8 [N, K], ``scales`` float32 [N, 1], no ``zeros``.
    W8A16, W4A16: ``values`` uint8 [N, K], one code in each however many bits it has; ``scales`` float32 [N, G] and ``zeros``
    uint8 [N, G] for groups of K / G columns. Without ``zeros`` they are symmetric: 128 or 8.

    Raises ValueError for parts that don't fit each other.
    """

    scheme: Scheme
    values: Tensor
    scales: Tensor
    zeros: Tensor | None = None

    def __post_init__(self) -> None:
        rows, columns = self.values.shape
        groups = self.scales.shape[1]
        dtype = torch.int8 if self.scheme is Scheme.W8A8 else torch.uint8
        if self.values.dtype is not dtype or self.scales.dtype is not torch.float32:
            raise ValueError(f"{self.scheme} has {dtype} weights with float32 scales")
        if self.scales.shape[0] != rows or groups == 0 or columns % groups:
            raise ValueError(f"scales {list(self.scales.shape)} don't fit weights {[rows, columns]}")
        if self.scheme is Scheme.W8A8 and (groups != 1 or self.zeros is not None):
            raise ValueError("w8a8 has one scale for each channel and no zero points")
        if self.zeros is not None and (self.zeros.shape != self.scales.shape or self.zeros.dtype is not torch.uint8):
            raise ValueError(f"zero points {list(self.zeros.shape)} don't fit scales {list(self.scales.shape)}")

    @property
    def shape(self) -> torch.Size:
        """[N, K]."""
        return self.values.shape

    @property
    def group_size(self) -> int:
        """Columns that share a scale."""
        return self.values.shape[1] // self.scales.shape[1]

    def dequantised(self) -> Tensor:
        """The weights that these stand for, float32 [N, K]."""
        rows, columns = self.shape
        values = self.values.float().view(rows, -1, self.group_size)
        if self.scheme is not Scheme.W8A8:
            zeros = float(1 << (self.scheme.bits - 1)) if self.zeros is None else self.zeros.float()[:, :, None]
            values = values - zeros
        return (values * self.scales[:, :, None]).view(rows, columns)

    def cut(self) -> Self | None:
        """The same weights in groups that the kernels take: the largest divisors of the group's size up to LARGEST_GROUP.

        None where no such divisor is a multiple of GROUP_STEP.
        """
        size = self.group_size
        fitting = (one for one in range(min(size, LARGEST_GROUP), 0, -1) if size % one == 0 and one % GROUP_STEP == 0)
        largest = next(fitting, None)
        if largest is None:
            return None
        pieces = size // largest
        zeros = None if self.zeros is None else self.zeros.repeat_interleave(pieces, dim=1)
        return type(self)(self.scheme, self.values, self.scales.repeat_interleave(pieces, dim=1), zeros)


def joined(parts: Sequence[QuantisedLinear]) -> QuantisedLinear | None:
    """Projections of one input as one, along N; None where they differ in scheme or group size."""
    first = parts[0]
    if any(part.scheme is not first.scheme or part.group_size != first.group_size for part in parts):
        return None
    zeros = None
    if any(part.zeros is not None for part in parts):
        middle = 1 << (first.scheme.bits - 1)
        filled = (
            torch.full(part.scales.shape, middle, dtype=torch.uint8) if part.zeros is None else part.zeros
            for part in parts
        )
        zeros = torch.cat(list(filled))
    return QuantisedLinear(
        first.scheme, torch.cat([part.values for part in parts]), torch.cat([part.scales for part in parts]), zeros
    )


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric int8 of each row of float [R, K]: values in -127 to 127 and float32 scales [R, 1]; x is about values * scale.

    A row of zeros has scale 0. Rounds half to even.
    """
    x = x.float()
    largest = x.abs().amax(dim=-1, keepdim=True)
    inverse = torch.where(largest > 0, 127.0 / largest, torch.zeros_like(largest))
    return torch.round(x * inverse).to(torch.int8), largest / 127.0


def round_to_nearest(weight: Tensor, scheme: Scheme, group_size: int | None = None) -> QuantisedLinear:
    """Weights [N, K] quantised without calibration: symmetric at 8 bits, from the least to the largest of a group at 4.

    ``group_size`` must divide K; None is one group for each channel. Raises ValueError where it doesn't.
    """
    rows, columns = weight.shape
    size = group_size or columns
    if columns % size:
        raise ValueError(f"groups of {size} columns don't divide {columns}")
    if scheme is Scheme.W8A8:
        return QuantisedLinear(scheme, *quantise_rows(weight))
    groups = weight.float().view(rows, -1, size)
    if scheme is Scheme.W8A16:
        values, scales = quantise_rows(groups)
        codes = (values.to(torch.int16) + 128).to(torch.uint8)
        return QuantisedLinear(scheme, codes.view(rows, columns), scales[:, :, 0])
    # Zero is among the codes, as the formats ask.
    low, high = groups.amin(dim=-1).clamp(max=0.0), groups.amax(dim=-1).clamp(min=0.0)
    scales = (high - low) / 15.0
    inverse = torch.where(scales > 0, 1.0 / scales, torch.zeros_like(scales))
    zeros = torch.round(-low * inverse)
    codes = (torch.round(groups * inverse[:, :, None]) + zeros[:, :, None]).clamp(0, 15).to(torch.uint8)
    return QuantisedLinear(scheme, codes.view(rows, columns), scales, zeros.to(torch.uint8))
