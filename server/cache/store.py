"""Answers by key, in this process's memory."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from pennyweight.server.types import Delta, Finished, Started

from .label import Label, Selection

# What an entry takes beside its bytes: its key, its label, its places in the two tables, and its own object, as sys.getsizeof has them.
ENTRY_OVERHEAD = 800


class StoredAnswer(msgspec.Struct, frozen=True, array_like=True):
    """An answer as an engine gave it, event by event."""

    started: Started
    deltas: tuple[Delta, ...]
    finished: Finished


encode_answer = msgspec.msgpack.Encoder().encode
# Raises msgspec.DecodeError.
decode_answer = msgspec.msgpack.Decoder(StoredAnswer).decode


@dataclass(frozen=True, slots=True)
class Held:
    """An answer that is kept, and how many seconds ago it was made."""

    answer: StoredAnswer
    age: float


@dataclass(frozen=True, slots=True)
class _Entry:
    encoded: bytes
    label: Label
    made: float


class AnswerStore:
    """Answers of at most ``max_bytes`` in all, each until ``ttl`` seconds of ``clock`` after it was made; the one not asked for the
    longest goes first.

    They are kept encoded, so that the bytes counted are those taken. All methods belong to the event loop's thread.
    """

    def __init__(self, max_bytes: int, ttl: float, clock: Callable[[], float]) -> None:
        self._max_bytes = max_bytes
        self._ttl = ttl
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self.nbytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> Held | None:
        """The answer under a key, or None where there is none any more."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        age = self._clock() - entry.made
        if age >= self._ttl:
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return Held(decode_answer(entry.encoded), age)

    def put(self, key: bytes, encoded: bytes, label: Label, *, age: float = 0.0) -> None:
        """Keep an encoded answer that was made ``age`` seconds ago, in the place of another under its key.

        One that is larger than the whole store is not kept.
        """
        self._remove(key)
        if len(encoded) + ENTRY_OVERHEAD > self._max_bytes:
            return
        self._entries[key] = _Entry(encoded, label, self._clock() - age)
        self.nbytes += len(encoded) + ENTRY_OVERHEAD
        while self.nbytes > self._max_bytes:
            self._remove(next(iter(self._entries)))
            self.evictions += 1

    def purge(self, selection: Selection) -> int:
        """Forget what is selected; returns how many answers that were."""
        keys = [key for key, entry in self._entries.items() if selection.has(key, entry.label)]
        for key in keys:
            self._remove(key)
        return len(keys)

    def by_label(self) -> Counter[Label]:
        """How many answers there are of each label."""
        return Counter(entry.label for entry in self._entries.values())

    def _remove(self, key: bytes) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self.nbytes -= len(entry.encoded) + ENTRY_OVERHEAD
