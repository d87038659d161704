"""Pairs of questions, and the stream of requests that they are replayed as."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec


class Pair(msgspec.Struct, frozen=True):
    """Two questions, and whether one answer is right for both."""

    question1: str
    question2: str
    same: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: texts are by their numbers. All texts below ``before`` have come before it, ``partner`` among them."""

    text: int
    partner: int
    same: bool
    before: int


class Stream:
    """The requests of pairs, in their order.

    Of each pair the first question has been answered before: it is kept, and counts as no request. Then the second is asked; if it is
    not answered from the cache its answer is kept as well. A hit on its partner is right if the pair says so; one on another text
    where both are joined by pairs that are the same, over as many others as it takes, and else wrong: a pair that nobody has labelled counts as
    not the same. A second question that came before to the letter is the exact cache's, and left out.
    """

    def __init__(self, pairs: Sequence[Pair], known: Iterable[Pair] = ()) -> None:
        """``known`` are pairs that are not replayed, but say which texts are the same."""
        self.texts: list[str] = []
        self.requests: list[Asked] = []
        numbers: dict[str, int] = {}
        for pair in pairs:
            partner = self._number(pair.question1, numbers)
            if pair.question2 in numbers:
                continue
            before = len(self.texts)
            text = self._number(pair.question2, numbers)
            self.requests.append(Asked(text, partner, pair.same, before))
        groups = _Groups()
        for pair in (*pairs, *known):
            if pair.same:
                groups.join(pair.question1, pair.question2)
        self._group = [groups.find(text) for text in self.texts]

    def is_right(self, request: Asked, kept: int) -> bool:
        """Whether the answer to a kept text is right for a request."""
        if kept == request.partner:
            return request.same
        return self._group[kept] == self._group[request.text]

    def _number(self, text: str, numbers: dict[str, int]) -> int:
        if text not in numbers:
            numbers[text] = len(self.texts)
            self.texts.append(text)
        return numbers[text]


class _Groups:
    """Texts that are the same, directly or over others (union-find)."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def find(self, text: str) -> str:
        root = text
        while (parent := self._parents.get(root, root)) != root:
            root = parent
        while (parent := self._parents.get(text, text)) != root:
            self._parents[text] = root
            text = parent
        return root

    def join(self, one: str, other: str) -> None:
        self._parents[self.find(one)] = self.find(other)


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file in JSON Lines, packed by gzip or not. Raises OSError, and ValueError for a line that is none."""
    return list(_pairs(path))


def _pairs(path: Path) -> Iterator[Pair]:
    decoder = msgspec.json.Decoder(Pair, strict=False)
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise ValueError(f"{path}:{number}: {error}; a line is {{question1, question2, same}}") from None
