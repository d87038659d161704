"""Answers by key, in this process's memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from pennyweight.server.types import Delta, Finished, Started

# What an entry takes beside its bytes: its key, its places in the two tables, and its own object, as sys.getsizeof has them.
ENTRY_OVERHEAD = 400


class StoredAnswer(msgspec.Struct, frozen=True, array_like=True):
    """An answer as an engine gave it, event by event."""

    started: Started
    deltas: tuple[Delta, ...]
    finished: Finished


@dataclass(frozen=True, slots=True)
class _Entry:
    encoded: bytes
    expires: float


class AnswerStore:
    """Answers of at most ``max_bytes`` in all, each for ``ttl`` seconds of ``clock``; the one not asked for the longest goes first.

    They are kept encoded, so that the bytes counted are those taken. All methods belong to the event loop's thread.
    """

    def __init__(self, max_bytes: int, ttl: float, clock: Callable[[], float]) -> None:
        self._max_bytes = max_bytes
        self._ttl = ttl
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(StoredAnswer)
        self.nbytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> StoredAnswer | None:
        """The answer under a key, or None where there is none any more."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= self._clock():
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return self._decoder.decode(entry.encoded)

    def put(self, key: bytes, answer: StoredAnswer) -> None:
        """Keep an answer, in the place of another under its key. One that is larger than the whole store is not kept."""
        encoded = self._encoder.encode(answer)
        self._remove(key)
        if len(encoded) + ENTRY_OVERHEAD > self._max_bytes:
            return
        self._entries[key] = _Entry(encoded, self._clock() + self._ttl)
        self.nbytes += len(encoded) + ENTRY_OVERHEAD
        while self.nbytes > self._max_bytes:
            self._remove(next(iter(self._entries)))
            self.evictions += 1

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
        self.nbytes = 0

    def _remove(self, key: bytes) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self.nbytes -= len(entry.encoded) + ENTRY_OVERHEAD
