"""A digest of every byte of a model's weights, which anybody can take again by other means."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pennyweight.server.errors import ModelError


def files_digest(files: Sequence[Path]) -> str:
    """The hexadecimal SHA-256 of a file, or of what ``sha256sum`` prints for several of them, by their names and in that order.

    The files are read by as many threads as there are cores. Raises ModelError for one that can't be read.
    """
    ordered = sorted(files, key=lambda file: file.name)
    with ThreadPoolExecutor(max(1, min(len(ordered), len(os.sched_getaffinity(0))))) as threads:
        digests = list(threads.map(_digest, ordered))
    if len(digests) == 1:
        return digests[0]
    lines = "".join(f"{digest}  {file.name}\n" for digest, file in zip(digests, ordered, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def directory_digest(path: Path) -> str:
    """That of all safetensors in a model directory."""
    return files_digest(list(path.glob("*.safetensors")))


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{file} can't be read: {error}") from error
