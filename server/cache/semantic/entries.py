"""The answers that are kept, with what is compared of the questions they answer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

import msgspec

from pennyweight.server.cache.store import StoredAnswer

from .partition import Question
from .standing import Standing
from .wording import Wording, wording_of

# What an entry takes beside its texts' and its answer's bytes: words, trigrams and tables, as measured over short questions; and its
# vectors, of two versions, of 384 numbers each. Long texts have more words, which are counted by their bytes.
ENTRY_OVERHEAD = 8192
BYTES_OF_WORDS = 40


class Entry(msgspec.Struct, eq=False):
    """A kept answer, encoded. ``standing`` is changed as it is judged, and another's from when both answers were judged to be the same."""

    number: int
    tenant: str
    model: str
    text: str
    partition: bytes
    key: bytes
    wording: Wording
    answer: bytes
    expires: float
    standing: Standing

    @property
    def nbytes(self) -> int:
        return len(self.answer) + BYTES_OF_WORDS * len(self.text.encode()) + ENTRY_OVERHEAD


class Entries:
    """At most ``max_entries`` and ``max_bytes`` of them, each for ``ttl`` seconds of ``clock``; the one not given for the longest
    goes first, with its answer. All methods belong to the event loop's thread."""

    def __init__(self, max_entries: int, max_bytes: int, ttl: float, clock: Callable[[], float]) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._ttl = ttl
        self._clock = clock
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._by_key: dict[bytes, int] = {}
        self._next = 0
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(StoredAnswer).decode
        self.nbytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __contains__(self, entry: Entry) -> bool:
        return entry.number in self._entries

    def get(self, number: int) -> Entry | None:
        """The entry, unless it has gone or its time is over."""
        entry = self._entries.get(number)
        return None if entry is None or entry.expires <= self._clock() else entry

    def give(self, entry: Entry) -> StoredAnswer:
        """An entry's answer, which is given once more."""
        if entry.number in self._entries:
            self._entries.move_to_end(entry.number)
        return self._decode(entry.answer)

    def same(self, key: bytes) -> Entry | None:
        """The entry of the same question to the letter."""
        number = self._by_key.get(key)
        return None if number is None else self.get(number)

    def put(self, tenant: str, question: Question, answer: StoredAnswer) -> tuple[Entry | None, list[Entry]]:
        """Keep an answer. Returns its entry, None where it is larger than all may be, and those that had to go: others for room, those
        whose time is over, and the one of the same question."""
        entry = Entry(
            number=self._next,
            tenant=tenant,
            model=answer.started.model,
            text=question.text,
            partition=question.partition,
            key=question.key,
            wording=wording_of(question.text),
            answer=self._encode(answer),
            expires=self._clock() + self._ttl,
            standing=Standing(),
        )
        if entry.nbytes > self._max_bytes:
            return None, []
        self._next += 1
        gone = []
        if (same := self._by_key.get(question.key)) is not None:
            gone.append(self._remove(same))
        self._entries[entry.number] = entry
        self._by_key[entry.key] = entry.number
        self.nbytes += entry.nbytes
        while len(self._entries) > self._max_entries or self.nbytes > self._max_bytes:
            gone.append(self._remove(next(iter(self._entries))))
            self.evictions += 1
        return entry, gone

    def expired(self) -> list[Entry]:
        """Remove those whose time is over, and return them."""
        now = self._clock()
        return [self._remove(entry.number) for entry in self if entry.expires <= now]

    def drop(self, matches: Callable[[Entry], bool]) -> list[Entry]:
        """Remove those that match, and return them."""
        return [self._remove(entry.number) for entry in self if matches(entry)]

    def _remove(self, number: int) -> Entry:
        entry = self._entries.pop(number)
        del self._by_key[entry.key]
        self.nbytes -= entry.nbytes
        return entry
