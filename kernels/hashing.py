"""Telling whether two computations gave the same logits, bit for bit, from 8 bytes for each row."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .cpu.hashing import hash_rows
from .cpu.library import load_library

_GOLDEN = 0x9E3779B97F4A7C15


class LogitsHasher:
    """Hashes rows of float32 logits [R, V] on one device.

    A row's hash is the sum, modulo 2^64, of each logit's 32 bits times an odd 64-bit key of its column's own: multilinear hashing
    (Carter and Wegman, "Universal classes of hash functions", 1979; Lemire and Kaser, "Strongly universal string hashing is fast",
    2014). A sum of whole numbers is the same in whatever order and by however many threads it is taken. One changed logit always
    changes it, several go unnoticed with a probability of 2^-32 at the worst, and for one odd difference among them of 2^-63. The keys are SplitMix64's
    numbers (Steele and others, OOPSLA 2014) from the column's number on, so that they are the same everywhere.
    """

    def __init__(self, vocab_size: int, device: torch.device) -> None:
        keys = _split_mix(np.arange(vocab_size, dtype=np.uint64)) | np.uint64(1)
        self._low = keys.astype(np.uint32)
        self._high = (keys >> np.uint64(32)).astype(np.uint32)
        self._library = load_library() if device.type == "cpu" else None
        self._keys = torch.from_numpy(keys.view(np.int64)).to(device)

    @torch.inference_mode()
    def rows(self, logits: Tensor, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The hashes of the given rows, [len(rows)]."""
        if self._library is not None:
            return hash_rows(self._library, logits, rows, self._low, self._high)
        wanted = logits[torch.from_numpy(rows).to(logits.device)].contiguous()
        # Products and sums of int64 wrap round as those of uint64 do.
        words = wanted.view(torch.int32).to(torch.int64) & 0xFFFF_FFFF
        return (words * self._keys).sum(dim=1).cpu().numpy().view(np.uint64)


def _split_mix(states: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        x = (states + np.uint64(1)) * np.uint64(_GOLDEN)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
