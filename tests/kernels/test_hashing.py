"""Hashes of rows of logits: the compiled kernel gives what the definition does, and one bit is enough to change them."""

from __future__ import annotations

import numpy as np
import torch

from pennyweight.kernels.cpu.library import Library
from pennyweight.kernels.hashing import LogitsHasher

VOCAB_SIZE = 5003
CPU = torch.device("cpu")


def by_definition(logits: torch.Tensor) -> list[int]:
    """Whole numbers of any size, and no trick."""
    mask = 2**64 - 1
    hashes = []
    for row in logits.numpy().view(np.uint32).tolist():
        total = 0
        for place, word in enumerate(row):
            key = ((place + 1) * 0x9E3779B97F4A7C15) & mask
            key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & mask
            key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & mask
            total += word * ((key ^ (key >> 31)) | 1)
        hashes.append(total & mask)
    return hashes


def test_kernel_and_pytorch_give_what_the_definition_gives(library: Library) -> None:
    # A step's logits are rows of a wider buffer.
    logits = torch.randn(4, VOCAB_SIZE + 13, generator=torch.Generator().manual_seed(0))[:, :VOCAB_SIZE]
    wanted = by_definition(logits.contiguous())
    hasher = LogitsHasher(VOCAB_SIZE, CPU)
    for kernels in (library, None):
        hasher._library = kernels
        assert hasher.rows(logits, np.array([2, 0, 3])).tolist() == [wanted[2], wanted[0], wanted[3]]


def test_any_number_of_threads_gives_the_same(library: Library) -> None:
    logits = torch.randn(3, VOCAB_SIZE, generator=torch.Generator().manual_seed(1))
    hasher = LogitsHasher(VOCAB_SIZE, CPU)
    hasher._library = library
    alone = hasher.rows(logits, np.arange(3)).tolist()
    library.team(5)
    assert hasher.rows(logits, np.arange(3)).tolist() == alone


def test_one_bit_anywhere_changes_the_hash() -> None:
    logits = torch.randn(1, 100, generator=torch.Generator().manual_seed(2))
    hasher = LogitsHasher(100, CPU)
    row = np.array([0])
    found = {hasher.rows(logits, row).item()}
    for place in range(100):
        for bit in range(32):
            changed = logits.clone()
            changed.view(torch.int32)[0, place] ^= -(2**31) if bit == 31 else 1 << bit
            found.add(hasher.rows(changed, row).item())
    assert len(found) == 3201
