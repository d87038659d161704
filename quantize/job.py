"""What passes between the command and the process that quantises: a job one way, events the other, both as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import msgspec

from .recipe import Recipe


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """At most ``samples`` pieces of ``tokens`` tokens are taken from the files."""

    files: tuple[str, ...]
    samples: int
    tokens: int


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Quantise the model in ``source`` into the empty directory ``made``; ``state`` keeps finished layers for another try.

    ``device`` is ``cpu`` or ``cuda``; ``threads`` those of PyTorch, 0 for its own choice.
    """

    source: str
    made: str
    state: str
    recipe: Recipe
    calibration: Calibration | None
    device: str
    threads: int = 0


class Stage(msgspec.Struct, frozen=True, tag="stage"):
    """Something begins that has ``total`` steps, 0 where that isn't known."""

    name: str
    total: int = 0


class Step(msgspec.Struct, frozen=True, tag="step"):
    """``count`` more steps of the stage are done."""

    count: int = 1


class Note(msgspec.Struct, frozen=True, tag="note"):
    """Something that whoever waits should know."""

    text: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The end: a sentence that says why, and what would help."""

    text: str


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The end: ``pieces`` of calibration text, ``tokens`` in all, were used; ``resumed`` layers were read back."""

    pieces: int = 0
    tokens: int = 0
    resumed: int = 0


Event = Stage | Step | Note | Failed | Finished


class Report:
    """Where the process tells how far it is: one event a line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def stage(self, name: str, total: int = 0) -> None:
        """See Stage."""
        self.send(Stage(name, total))

    def step(self, count: int = 1) -> None:
        """See Step."""
        self.send(Step(count))

    def note(self, text: str) -> None:
        """See Note."""
        self.send(Note(text))

    def send(self, event: Event) -> None:
        """Written at once."""
        self._stream.write(msgspec.json.encode(event) + b"\n")
        self._stream.flush()


def read_job(file: Path) -> Job:
    """Raises OSError and msgspec.ValidationError: it is this package that wrote it."""
    return msgspec.json.decode(file.read_bytes(), type=Job)


def read_event(line: bytes) -> Event:
    """Raises ValueError for a line that is none."""
    event: Event = msgspec.json.decode(line, type=Event)
    return event
