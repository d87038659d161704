"""The samples of a load as a file: one JSON object a line, gzipped."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

import msgspec

from .sample import Sample


def samples_path(directory: Path, number: int) -> Path:
    """Where the samples of a run's load ``number`` are, beside its result."""
    return directory / f"samples-{number}.jsonl.gz"


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write them, and the directory if need be. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoder = msgspec.json.Encoder()
    with gzip.open(path, "wb", compresslevel=6) as file:
        for sample in samples:
            file.write(encoder.encode(sample) + b"\n")


def read_samples(path: Path) -> list[Sample]:
    """The samples that were written. Raises OSError, and msgspec.ValidationError for a file of others."""
    decoder = msgspec.json.Decoder(Sample)
    with gzip.open(path, "rb") as lines:
        return [decoder.decode(line) for line in lines]
