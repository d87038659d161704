"""Where a quantised checkpoint comes from and how it was made: what its manifest says besides its scores."""

from __future__ import annotations

from pathlib import Path

import msgspec

from .errors import QuantizeError
from .manifest import FILE, write_manifest
from .recipe import Recipe


class CalibrationData(msgspec.Struct, frozen=True, kw_only=True):
    """The text that was run through the model. ``sha256`` is of all its files in turn; ``pieces`` of ``tokens`` tokens were taken."""

    name: str
    sha256: str
    pieces: int
    tokens: int


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """Weights: the name of the model's directory, bytes, and sha256 of each file by its name."""

    name: str
    nbytes: int
    sha256: dict[str, str]


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """``versions`` are those of the libraries that did the work. ``made`` is in UTC, ISO 8601."""

    recipe: Recipe
    calibration: CalibrationData | None
    source: Files
    result: Files
    versions: dict[str, str]
    made: str
    seconds: float
    resumed: bool = False
    schema: int = 1


def write_provenance(directory: Path, provenance: Provenance) -> None:
    """Begin a checkpoint's manifest. Raises QuantizeError."""
    try:
        write_manifest(directory, msgspec.to_builtins(provenance))
    except OSError as error:
        raise QuantizeError(f"{directory / FILE} can't be written: {error}") from error
