"""What one engine says to a recorded request: its own answer, and what its logits say of the recorded one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import msgspec

from pennyweight.bench.replay.score import Score

_encode = msgspec.msgpack.Encoder().encode


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """``id`` is the request's, ``answer`` are the recorded tokens that ``score`` is of. ``error`` says why there is no answer, ``unscored`` why
    no score.
    """

    id: str
    answer: tuple[int, ...]
    model: str = ""
    fingerprint: str = ""
    prompt_token_ids: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()
    text: str = ""
    error: str = ""
    score: Score | None = None
    unscored: str = ""


class Spool:
    """What was heard of one engine, in a file while the other is asked, so that memory doesn't grow with the recording."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}

    def write(self, heard: Heard) -> None:
        """Keep it under its id."""
        data = _encode(heard)
        self._places[heard.id] = (self._file.seek(0, 2), len(data))
        self._file.write(data)

    def read(self, id: str) -> Heard:
        """Raises KeyError for what was not heard."""
        place, length = self._places[id]
        self._file.seek(place)
        return msgspec.msgpack.decode(self._file.read(length), type=Heard)


@contextmanager
def spooling() -> Iterator[Spool]:
    """A spool for as long as it is needed."""
    with tempfile.TemporaryFile(prefix="pennyweight-drift-") as file:
        yield Spool(file)
