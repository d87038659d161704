"""The names of a recording's files, which say when each was begun and by whom, and sort in that order."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

PLAIN, SEALED = ".jsonl", ".jsonl.sealed"
_NAME = re.compile(r"recording-(?P<began>\d{8}T\d{12})Z-\d+-\d+\.jsonl(?:\.sealed)?")
_TIME = "%Y%m%dT%H%M%S%f"


def segment_name(began: float, pid: int, number: int, suffix: str) -> str:
    """The name of the process's ``number``-th file, begun at ``began`` (Unix seconds)."""
    return f"recording-{datetime.fromtimestamp(began, UTC).strftime(_TIME)}Z-{pid}-{number:04d}{suffix}"


def began_at(path: Path) -> float | None:
    """When a file was begun, in Unix seconds; None for what is no recording's file."""
    found = _NAME.fullmatch(path.name)
    if found is None:
        return None
    try:
        return datetime.strptime(found["began"], _TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def segments_in(directory: Path) -> list[Path]:
    """The files of the recordings in a directory, the oldest first. Raises OSError."""
    return sorted((path for path in directory.iterdir() if began_at(path) is not None), key=lambda path: path.name)


def is_sealed(path: Path) -> bool:
    """Whether a file's lines are encrypted, as its name says."""
    return path.name.endswith(SEALED)
