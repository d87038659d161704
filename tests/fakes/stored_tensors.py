"""Tensors of a checkpoint in memory, and the plainest possible packing of codes, against which the reading of formats is held."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class StoredTensors(dict[str, Tensor]):
    """Implements Tensors of ``quantize/formats``."""

    def load(self, name: str) -> Tensor:
        return self[name]


def pack_rows(codes: Tensor, bits: int, order: Sequence[int] | None = None) -> Tensor:
    """int32 [R, ceil(C * bits / 32)] of codes [R, C]: of each word's codes in turn, the one at place p goes to bits p * bits and up.

    ``order`` has the place of each of a word's codes; by default they lie in turn.
    """
    per_word = 32 // bits
    places = order or range(per_word)
    words = []
    for row in codes.tolist():
        padded = row + [0] * (-len(row) % per_word)
        packed = []
        for start in range(0, len(padded), per_word):
            word = 0
            for place, code in zip(places, padded[start : start + per_word], strict=True):
                word |= code << (place * bits)
            packed.append(word - (1 << 32) if word >= 1 << 31 else word)
        words.append(packed)
    return torch.tensor(words, dtype=torch.int32)


def random_codes(rows: int, columns: int, bits: int, seed: int) -> Tensor:
    """int64 in 0 to 2 ** bits - 1."""
    return torch.randint(0, 1 << bits, (rows, columns), generator=torch.Generator().manual_seed(seed))


def random_scales(rows: int, groups: int, seed: int) -> Tensor:
    """float16, as the formats store them."""
    return (torch.rand(rows, groups, generator=torch.Generator().manual_seed(seed)) * 0.02 + 0.001).half()


def dequantised(codes: Tensor, zeros: Tensor, scales: Tensor, places: Tensor) -> Tensor:
    """float32 [N, K]: (code - zero) * scale with the group of each column, one value after the other's rules."""
    return (codes - zeros[:, places]).float() * scales.float()[:, places]
