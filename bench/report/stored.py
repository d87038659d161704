"""The results that lie in a directory, with the raw data beside each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from pennyweight.bench.result import FILE, Result, read


class NoResult(Exception):
    """A directory that was named holds no result that can be read; the message says which and why."""


@dataclass(frozen=True)
class StoredResult:
    """A result and where it lies. ``name`` is its place below the directory that was named, "" for that directory itself."""

    directory: Path
    name: str
    result: Result

    @property
    def finished(self) -> datetime:
        """When the run ended. Raises ValueError where that is no date."""
        return datetime.fromisoformat(self.result.finished)

    def files(self) -> list[Path]:
        """Everything that was written beside the result, and the result itself, by name."""
        beside = [path for path in self.directory.iterdir() if path.is_file() and path.suffix not in (".html", ".md")]
        return sorted(beside, key=lambda path: (path.name != FILE, path.name))


def find_results(directories: Iterable[Path]) -> list[StoredResult]:
    """Every result at or below each of the directories, the oldest first. Raises NoResult."""
    found = []
    for directory in directories:
        if not directory.is_dir():
            raise NoResult(f"{directory} is no directory: name one that a benchmark's --out has made")
        files = sorted(directory.rglob(FILE))
        if not files:
            raise NoResult(f"{directory} has no {FILE}, nor has a directory below it: run a benchmark with --out")
        found += [_stored(directory, file.parent) for file in files]
    return sorted(found, key=lambda one: one.finished)


def _stored(root: Path, directory: Path) -> StoredResult:
    relative = directory.relative_to(root).as_posix()
    try:
        stored = StoredResult(directory, "" if relative == "." else relative, read(directory))
        stored.finished  # noqa: B018  a date that is none is told here, and not by whoever sorts
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise NoResult(f"{directory / FILE} can't be read: {error}") from error
    return stored
