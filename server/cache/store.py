"""Answers by key, in this process's memory."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import msgspec

from pennyweight.server.types import Delta, Finished, Started

from .label import Label, Selection

# What an entry takes beside its bytes: its key, its label, its places in the two tables, and its own object, as sys.getsizeof has them.
ENTRY_OVERHEAD = 800
# So many requests that are written otherwise, and are the same to the cache, have something attached to one answer.
MOST_ATTACHED = 8


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
    """An answer that is kept, and how many seconds ago it was made; ``is_stale`` where its time is over."""

    answer: StoredAnswer
    age: float
    is_stale: bool = False


@dataclass(slots=True)
class _Entry:
    encoded: bytes
    label: Label
    made: float
    nbytes: int
    # By name, with the bytes of each; made where there are any.
    attached: dict[Hashable, tuple[object, int]] | None = None


class AnswerStore:
    """Answers of at most ``max_bytes`` in all, each until ``ttl`` seconds of ``clock`` after it was made, and ``stale`` more for who asks
    for one whose time is over; the one not asked for the longest goes first.

    They are kept encoded, so that the bytes counted are those taken. All methods belong to the event loop's thread.
    """

    def __init__(self, max_bytes: int, ttl: float, clock: Callable[[], float], stale: float = 0.0) -> None:
        self._max_bytes = max_bytes
        self._ttl = ttl
        self._stale = stale
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        # The key of the answer that each name is attached to.
        self._attached: dict[Hashable, bytes] = {}
        self.nbytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, max_stale: float = 0.0) -> Held | None:
        """The answer under a key, or None where there is none any more; ``max_stale`` seconds after its time is over at the latest."""
        found = self._used(key, max_stale)
        return None if found is None else Held(decode_answer(found[0].encoded), found[1], found[1] >= self._ttl)

    def attach(self, key: bytes, name: Hashable, what: object, nbytes: int) -> None:
        """Keep something of ``nbytes`` beside an answer, for as long as that is kept; the first of too many goes.

        An answer that is not there, or has no room for it, has nothing attached.
        """
        entry = self._entries.get(key)
        if entry is None or name in self._attached or entry.nbytes + nbytes > self._max_bytes:
            return
        if entry.attached is None:
            entry.attached = {}
        elif len(entry.attached) >= MOST_ATTACHED:
            first = next(iter(entry.attached))
            del self._attached[first]
            self._grow(entry, -entry.attached.pop(first)[1])
        entry.attached[name] = what, nbytes
        self._attached[name] = key
        self._grow(entry, nbytes)
        self._entries.move_to_end(key)
        self._evict()

    def attached(self, name: Hashable) -> tuple[object, float, bytes] | None:
        """What is attached by that name, with its answer's age and key."""
        key = self._attached.get(name)
        if key is None or (found := self._used(key)) is None:
            return None
        entry, age = found
        assert entry.attached is not None, "the name is known"
        return entry.attached[name][0], age, key

    def put(self, key: bytes, encoded: bytes, label: Label, *, age: float = 0.0) -> None:
        """Keep an encoded answer that was made ``age`` seconds ago, in the place of another under its key.

        One that is larger than the whole store is not kept.
        """
        self._remove(key)
        if len(encoded) + ENTRY_OVERHEAD > self._max_bytes:
            return
        entry = self._entries[key] = _Entry(encoded, label, self._clock() - age, 0)
        self._grow(entry, len(encoded) + ENTRY_OVERHEAD)
        self._evict()

    def purge(self, selection: Selection) -> int:
        """Forget what is selected; returns how many answers that were."""
        keys = [key for key, entry in self._entries.items() if selection.has(key, entry.label)]
        for key in keys:
            self._remove(key)
        return len(keys)

    def by_label(self) -> Counter[Label]:
        """How many answers there are of each label."""
        return Counter(entry.label for entry in self._entries.values())

    def _used(self, key: bytes, max_stale: float = 0.0) -> tuple[_Entry, float] | None:
        """An entry that is asked for, and its age."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        age = self._clock() - entry.made
        if age >= self._ttl + self._stale:
            self._remove(key)
            return None
        if age >= self._ttl + max_stale:
            return None
        self._entries.move_to_end(key)
        return entry, age

    def _grow(self, entry: _Entry, nbytes: int) -> None:
        entry.nbytes += nbytes
        self.nbytes += nbytes

    def _evict(self) -> None:
        while self.nbytes > self._max_bytes:
            self._remove(next(iter(self._entries)))
            self.evictions += 1

    def _remove(self, key: bytes) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self.nbytes -= entry.nbytes
            for name in entry.attached or ():
                del self._attached[name]
