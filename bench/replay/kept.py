"""What became of each request as a file: one JSON object a line, gzipped, written as it comes."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from .comparison import Comparison

FILE = "requests.jsonl.gz"


@contextmanager
def kept(directory: Path | None) -> Iterator[Callable[[Comparison], None]]:
    """What is to be told of each comparison. Without a directory nothing is kept. Raises OSError."""
    if directory is None:
        yield lambda found: None
        return
    directory.mkdir(parents=True, exist_ok=True)
    encoder = msgspec.json.Encoder()
    with gzip.open(directory / FILE, "wb", compresslevel=6) as file:

        def write(found: Comparison) -> None:
            file.write(encoder.encode(found) + b"\n")

        yield write
