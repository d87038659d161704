"""What a benchmark leaves behind: one JSON document with everything that a reader needs to judge it or to run it again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from shlex import join
from typing import Any

import msgspec
from rich.console import Console, RenderableType

from .machine import Machine, revision, this_machine

FILE = "result.json"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one benchmark. Times are in UTC, in ISO 8601.

    ``kind`` is the benchmark's name on the command line; ``settings`` are the options as they were in effect; ``complaints``
    say why the figures must not be quoted, and are empty where they may; ``data`` is the benchmark's own.
    """

    kind: str
    command: str
    started: str
    finished: str
    machine: Machine
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    complaints: tuple[str, ...] = ()
    data: Mapping[str, Any]

    @property
    def is_valid(self) -> bool:
        return not self.complaints


class Run:
    """A benchmark that is under way: made at its start, so that the result says when that was."""

    def __init__(self, kind: str, settings: Mapping[str, Any]) -> None:
        self._kind = kind
        self._settings = settings
        self._started = _now()

    def result(
        self, data: Mapping[str, Any], *, versions: Mapping[str, str], complaints: tuple[str, ...] = ()
    ) -> Result:
        """The result, finished now."""
        return Result(
            kind=self._kind,
            command=join(["pennyweight", *sys.argv[1:]]),
            started=self._started,
            finished=_now(),
            machine=this_machine(),
            versions={"pennyweight": own_version(), **versions},
            settings=self._settings,
            complaints=complaints,
            data=data,
        )


def show(result: Result, out: Path | None, *tables: RenderableType) -> None:
    """The tables for people, then what is wrong if anything, then the result as one line; written to ``out``/result.json as well."""
    console = Console(width=160)
    for table in tables:
        console.print(table)
    for complaint in result.complaints:
        console.print(f"INVALID: {complaint}", markup=False, highlight=False, style="bold red")
    text = msgspec.json.encode(result, enc_hook=_path_as_text).decode()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / FILE).write_text(text + "\n")
    print(text)


def read(directory: Path) -> Result:
    """The result that ``show`` wrote. Raises OSError, and msgspec.ValidationError for a file that is none."""
    return msgspec.json.decode((directory / FILE).read_bytes(), type=Result)


def own_version() -> str:
    """Pennyweight's version, with the revision where it is installed as links to a checkout."""
    checkout = revision(Path(__file__).resolve().parent)
    return version("pennyweight") + (f" ({checkout})" if checkout else "")


def _path_as_text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
