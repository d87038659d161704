"""Telling adapters' weights apart, in milliseconds for files of any size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

HASH_CHUNK = 64 * 1024
HASH_CHUNKS = 64


def weights_digest(files: Iterable[tuple[Path, int]]) -> str:
    """A hexadecimal digest of weight files, each given with the size of its header in bytes.

    It covers each file's size, its header (names, shapes, types, places) and ``HASH_CHUNKS`` chunks of ``HASH_CHUNK`` bytes
    spread evenly over it, the end included. Other training, quantisation or rounding changes nearly every byte and so
    the digest; a few bytes edited between the chunks of a large file do not.
    """
    digest = hashlib.sha256()
    for path, header_bytes in files:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            digest.update(size.to_bytes(8, "little") + file.read(header_bytes))
            last = max(header_bytes, size - HASH_CHUNK)
            for part in range(HASH_CHUNKS):
                file.seek(header_bytes + (last - header_bytes) * part // (HASH_CHUNKS - 1))
                digest.update(file.read(HASH_CHUNK))
    return digest.hexdigest()
