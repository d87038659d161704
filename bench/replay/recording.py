"""What is replayed: the records of files and directories, or of a case, each with its manifest, in the order of their arrivals."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from pennyweight.server.engines.manifest import Manifest
from pennyweight.server.errors import ConfigError
from pennyweight.server.key_file import read_key
from pennyweight.server.record.case import FORMAT, read_case, with_prompt
from pennyweight.server.record.reader import RecordingReader
from pennyweight.server.record.record import Record

from .prompt_file import read_prompt

# Records are written as answers end. So many are held back to be put into the order in which they came.
WINDOW = 1000
CASE_BYTES = 4096
_PREFIXES = ("chatcmpl-", "cmpl-")


class Recorded(msgspec.Struct, frozen=True):
    """A record, and the manifest that it names where the recording has it."""

    record: Record
    manifest: Manifest | None


class Survey(msgspec.Struct, kw_only=True):
    """What a recording has: ``models`` that answered, by the requests of each, with the last manifest of each; ``routed`` requests."""

    records: int = 0
    routed: int = 0
    models: Counter[str] = msgspec.field(default_factory=Counter)
    manifests: dict[str, Manifest] = msgspec.field(default_factory=dict)
    torn: int = 0


class Recording:
    """The records of ``source`` (a file, a directory or a case), those of ``ids`` where any are given, the first ``limit`` at most.

    Raises ConfigError, in iterating too: see the reader.
    """

    def __init__(
        self,
        source: Path,
        ids: Collection[str] = (),
        *,
        limit: int | None = None,
        key_file: Path | None = None,
        prompt: Path | None = None,
    ) -> None:
        self._source = source
        self._ids = frozenset(map(_bare, ids))
        self._limit = limit
        self._key = None if key_file is None else read_key(str(key_file), "--key-file")
        self._case = _read_case(source, prompt) if _is_case(source) else None
        if prompt is not None and self._case is None:
            raise ConfigError("--prompt is for a case that was exported without its prompt")

    def __iter__(self) -> Iterator[Recorded]:
        """By arrival, as far as ``WINDOW`` records make up for the order in which they were written."""
        return self._all(RecordingReader([self._source], self._key))

    def survey(self) -> Survey:
        """What there is, by reading it once. Raises ConfigError also where nothing is, or where an id isn't found."""
        found, missing = Survey(), set(self._ids)
        reader = RecordingReader([self._source], self._key)
        for one in self._all(reader):
            record = one.record
            found.records += 1
            found.routed += record.route is not None
            missing -= _ids_of(record)
            found.models[record.model or record.request.model] += 1
            if one.manifest is not None:
                found.manifests[record.model] = one.manifest
        if missing:
            raise ConfigError(f"{self._source} has no record of {', '.join(sorted(missing))}")
        if not found.records:
            raise ConfigError(f"{self._source} has no records")
        if self._case is None:
            found.torn = len(reader.torn)
        return found

    def _read(self, reader: RecordingReader) -> Iterator[Recorded]:
        if self._case is not None:
            yield self._case
            return
        manifests: dict[str, Manifest] = {}
        for entry in reader:
            if isinstance(entry, Manifest):
                manifests[entry.fingerprint] = entry
            else:
                yield Recorded(entry, manifests.get(entry.manifest))

    def _all(self, reader: RecordingReader) -> Iterator[Recorded]:
        chosen = (one for one in self._read(reader) if not self._ids or self._ids & _ids_of(one.record))
        return islice(_by_arrival(chosen), self._limit)


def _by_arrival(found: Iterator[Recorded]) -> Iterator[Recorded]:
    waiting: list[tuple[float, int, Recorded]] = []
    for number, one in enumerate(found):
        heapq.heappush(waiting, (one.record.arrival, number, one))
        if len(waiting) > WINDOW:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def _ids_of(record: Record) -> frozenset[str]:
    """Its own, and its body's: of a body with several prompts each answer has that and a number."""
    return frozenset((record.id, record.id.rpartition("-")[0]))


def _bare(id: str) -> str:
    """The request's id of its answer's."""
    return next((id.removeprefix(one) for one in _PREFIXES if id.startswith(one)), id)


def _is_case(source: Path) -> bool:
    if not source.is_file():
        return False
    try:
        with source.open("rb") as file:
            return f'"{FORMAT}"'.encode() in file.read(CASE_BYTES)
    except OSError as error:
        raise ConfigError(f"{source} can't be read: {error.strerror}") from None


def _read_case(source: Path, prompt: Path | None) -> Recorded:
    case = read_case(source)
    if prompt is not None:
        case = with_prompt(case, read_prompt(prompt, case.record.request.prompt))
    elif not case.has_prompt:
        raise ConfigError(
            f"{source} was exported without its prompt: give it with --prompt FILE, a file with the request's body as it was sent, "
            "or for a completion its text alone. It is taken if its hashes are those in the case."
        )
    return Recorded(case.record, case.manifest)
