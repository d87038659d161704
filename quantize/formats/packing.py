"""Codes of a few bits, several to a 32-bit word."""

from __future__ import annotations

import torch
from torch import Tensor


def unpacked(words: Tensor, bits: int, dim: int) -> Tensor:
    """The codes in int32 words, uint8, lowest bits first: the size along ``dim`` grows by 32 / bits."""
    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    spread = words.movedim(dim, -1).unsqueeze(-1)
    codes = torch.bitwise_and(torch.bitwise_right_shift(spread, shifts), (1 << bits) - 1).to(torch.uint8)
    return codes.flatten(-2).movedim(-1, dim)
