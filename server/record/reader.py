"""Reads recordings: the records and manifests of files, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from pennyweight.server.engines.manifest import Manifest
from pennyweight.server.errors import ConfigError

from .line import FORMAT, Header, decode_line
from .record import VERSION, Record
from .sealing import LineSealer, Unsealable
from .segment_name import is_sealed, segments_in


class RecordingReader:
    """Iterates over the manifests and records of ``places``, which are files or directories of files, the oldest first.

    Iterating again goes on with what has been written since. What a writer's sudden end has left of a last line is passed over:
    ``torn`` has the files that end so, with the bytes that are passed over. Raises ConfigError for a file that can't be read, is no recording, is damaged elsewhere, or needs
    another ``key`` (32 bytes).
    """

    def __init__(self, places: Iterable[Path], key: bytes | None = None) -> None:
        self._places = tuple(places)
        self._key = key
        self._files: dict[Path, _File] = {}

    def __iter__(self) -> Iterator[Manifest | Record]:
        for path in self._paths():
            yield from self._files.setdefault(path, _File(path, self._key)).read()

    @property
    def torn(self) -> dict[Path, int]:
        """By file, as of the last time that it was read."""
        return {path: file.torn for path, file in self._files.items() if file.torn}

    def find(self, id: str) -> tuple[Record, Manifest | None] | None:
        """The record of a request's id, or of an answer's, with its manifest."""
        manifests: dict[str, Manifest] = {}
        for entry in self:
            if isinstance(entry, Manifest):
                manifests[entry.fingerprint] = entry
            elif entry.id == id.removeprefix("chatcmpl-").removeprefix("cmpl-"):
                return entry, manifests.get(entry.manifest)
        return None

    def _paths(self) -> Iterator[Path]:
        for place in self._places:
            if not place.exists():
                raise ConfigError(f"there is no recording {place}")
            try:
                yield from segments_in(place) if place.is_dir() else (place,)
            except OSError as error:
                raise ConfigError(f"{place} can't be read: {error.strerror}") from None


class _File:
    """One file, read as far as its whole lines go."""

    def __init__(self, path: Path, key: bytes | None) -> None:
        self._path = path
        self._key = key
        self._sealer: LineSealer | None = None
        self._offset = 0
        self._number = 0
        self.torn = 0

    def read(self) -> Iterator[Manifest | Record]:
        if is_sealed(self._path) and self._key is None:
            raise ConfigError(f"{self._path} is encrypted: name the file with its key")
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                self.torn = 0
                for line in file:
                    if not line.endswith(b"\n"):
                        self.torn = len(line)
                        return
                    self._offset += len(line)
                    self._number += 1
                    entry = self._entry(line[:-1])
                    if not isinstance(entry, Header):
                        yield entry
        except FileNotFoundError:
            return  # retention took it after it was listed
        except OSError as error:
            raise ConfigError(f"{self._path} can't be read: {error.strerror}") from None

    def _entry(self, line: bytes) -> Header | Manifest | Record:
        try:
            entry = decode_line(self._opened(line))
        except Unsealable:
            raise ConfigError(
                f"{self._path} is damaged or has another key (line {self._number} does not open)"
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self._path} is no recording, or damaged (line {self._number}: {error})") from None
        if self._number == 1:
            if not isinstance(entry, Header) or entry.format != FORMAT:
                raise ConfigError(f"{self._path} is no recording: it has no header")
            if entry.version > VERSION:
                raise ConfigError(f"{self._path} was written by a newer version of Pennyweight ({entry.pennyweight})")
        return entry

    def _opened(self, line: bytes) -> bytes:
        if not is_sealed(self._path):
            return line
        assert self._key is not None
        if self._sealer is None:
            self._sealer = LineSealer.of(line, self._key)
        return self._sealer.open(line)
