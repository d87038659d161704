"""Hashed n-grams of a prompt: its words and pairs of words, and the byte sequences within it, as sparse counts.

Hashes are CRC-32 and a multiplicative rolling hash, not Python's, which differs from process to process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from .task_features import excerpt

Indices = NDArray[np.int64]
Weights = NDArray[np.float32]
Hashes = NDArray[np.uint32]

# Words first, then sequences of bytes; a bucket fits 16 bits.
WORD_BITS = 15
BYTE_BITS = 15
BUCKETS = 2**WORD_BITS + 2**BYTE_BITS
BYTE_LENGTHS = (3, 4, 5)

# Letters, digits and whatever isn't ASCII, in UTF-8.
_TOKEN = re.compile(rb"[0-9a-z_\x80-\xff]+")
_MULTIPLIER = np.uint32(2654435761)  # Knuth's, of 2**32 and the golden ratio


def ngrams(prompt: str) -> tuple[Indices, Weights]:
    """The buckets that the prompt's n-grams fall into, ascending, and 1 + the logarithm of how many fall there."""
    text = " ".join(excerpt(prompt).lower().split()).encode("utf-8", "surrogatepass")
    words = np.fromiter(map(crc32, _TOKEN.findall(text)), dtype=np.uint32)
    pairs = _mixed((words[:-1] * _MULTIPLIER) ^ words[1:])
    found = np.concatenate(
        [
            *((hashes & np.uint32(2**WORD_BITS - 1)).astype(np.uint16) for hashes in (words, pairs)),
            *(
                (hashes & np.uint32(2**BYTE_BITS - 1)).astype(np.uint16) + np.uint16(2**WORD_BITS)
                for hashes in _of_bytes(text)
            ),
        ]
    )
    indices, counts = np.unique(found, return_counts=True)
    return indices.astype(np.int64), (1 + np.log(counts)).astype(np.float32)


def _of_bytes(text: bytes) -> Iterator[Hashes]:
    codes = np.frombuffer(b" %b " % text, dtype=np.uint8).astype(np.uint32)
    state = np.zeros(len(codes), dtype=np.uint32)
    for length in range(1, min(max(BYTE_LENGTHS), len(codes)) + 1):
        # Each step takes in one more byte at the right.
        state = (state[: len(codes) - length + 1] ^ codes[length - 1 :]) * _MULTIPLIER
        if length in BYTE_LENGTHS:
            yield _mixed(state)


def _mixed(hashes: Hashes) -> Hashes:
    """High bits brought down to where the bucket is read."""
    return hashes ^ (hashes >> np.uint32(15))
