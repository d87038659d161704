"""Which entry answers a question, if any: BM25, corrected by what must and what can't be the same."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import date

import numpy as np

from .documents import Entry
from .quantities import Quantity, quantities
from .words import terms, words

# BM25's saturation and correction for length. The latter is small: an answer is not worse for being long.
K1 = 1.2
B = 0.3
# So often a question's and a tag's words count, where an answer's and a heading's count once.
WEIGHT = 3
# What is added where the whole question is an entry's, or has an entry's within it, of so many words at least.
EQUAL_BOOST, PHRASE_BOOST = 1.0, 0.5
PHRASE_WORDS = 3
# What is left of a score for each amount or date of the question that the entry has not, but others; or that it has none to say to.
CONTRADICTED, UNMENTIONED = 0.3, 0.6
# What is left of a score where none of the words of an entry's question are asked for; all of it where all are.
UNASKED = 0.4
# So much a word counts that no entry has: it may be a greeting, or what the whole question is about.
UNKNOWN = 0.5
# The best by BM25, among which the rest decides.
CANDIDATES = 50


@dataclass(frozen=True, slots=True)
class Found:
    """An entry and how well it answers; about 1 for one whose question has all the words that were asked with."""

    entry: Entry
    score: float


class FaqIndex:
    """Entries, ready to be searched. Immutable; nothing is random, and of two that are as good the earlier one is found."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        # Here: it takes a quarter of a second to import, and is for who has an FAQ.
        import bm25s

        self.entries = tuple(entries)
        asked = [words(entry.question) for entry in entries]
        texts = [_text(entry, question) for entry, question in zip(entries, asked, strict=True)]
        self._index = bm25s.BM25(method="lucene", k1=K1, b=B, backend="numpy")
        self._index.index(texts, show_progress=False)
        frequencies = Counter(term for text in texts for term in set(text))
        self._weights = {term: _idf(len(self.entries), count) for term, count in frequencies.items()}
        self._wanted = [self._parts(entry, question) for entry, question in zip(entries, asked, strict=True)]
        self._phrases = [" ".join(question) for question in asked]
        self._has_phrase = [len(question) >= PHRASE_WORDS for question in asked]
        self._quantities = [quantities(f"{entry.question}\n{entry.answer}") for entry in entries]
        self._places: dict[str, list[int]] = {}
        for place, phrase in enumerate(self._phrases):
            self._places.setdefault(phrase, []).append(place)

    def search(self, question: str, day: date) -> Found | None:
        """The best of the entries that are valid on that day; None where no word of the question is in any."""
        asked = words(question)
        found = terms(asked)
        unique = list(dict.fromkeys(found))
        if not unique:
            return None
        scores = np.asarray(self._index.get_scores(unique), dtype=np.float64) / self._reference(unique)
        phrase = " ".join(asked)
        # Stable, so that those before come first.
        best = np.argsort(-scores, kind="stable").tolist()
        matching = itertools.takewhile(lambda place: scores[place] > 0.0, best)
        valid = (place for place in matching if self.entries[place].is_valid(day))
        candidates = list(itertools.islice(valid, CANDIDATES))
        candidates += [
            place
            for place in self._places.get(phrase, ())
            if self.entries[place].is_valid(day) and place not in candidates
        ]
        if not candidates:
            return None
        told = quantities(question)
        known = self._weights.keys() & unique
        rated = [
            (self._score(place, float(scores[place]) * self._asked_share(place, known), phrase, told), -place)
            for place in candidates
        ]
        score, place = max(rated)
        return Found(self.entries[-place], score)

    def _score(self, place: int, score: float, phrase: str, told: Sequence[Quantity]) -> float:
        if phrase == self._phrases[place]:
            score += EQUAL_BOOST
        elif self._has_phrase[place] and f" {self._phrases[place]} " in f" {phrase} ":
            score += PHRASE_BOOST
        there = self._quantities[place]
        for one in told:
            if not any(one.agrees(other) for other in there):
                score *= CONTRADICTED if there else UNMENTIONED
        return score

    def _reference(self, unique: Sequence[str]) -> float:
        """The score of an entry of average length whose question has all these terms: 1 after the division by it.

        A question of which little is known scores low, for its unknown terms are in it.
        """
        unknown = UNKNOWN * _idf(len(self.entries), 0)
        return sum(self._weights.get(term, unknown) for term in unique) * WEIGHT / (K1 + WEIGHT)

    def _parts(self, entry: Entry, question: Sequence[str]) -> list[tuple[frozenset[str], float]]:
        """The terms of an entry's question and of each of its tags, with what they weigh together."""
        parts = [frozenset(terms(one)) for one in (question, *map(words, entry.tags))]
        return [(part, sum(self._weights[term] for term in sorted(part))) for part in parts if part]

    def _asked_share(self, place: int, known: Set[str]) -> float:
        """What words such as "how do I" alone don't reach: how much of an entry's question, or else of a tag, is asked for."""
        shares = (
            sum(self._weights[term] for term in sorted(part & known)) / weight for part, weight in self._wanted[place]
        )
        return UNASKED + (1.0 - UNASKED) * max(shares, default=0.0)


def _idf(num_entries: int, frequency: int) -> float:
    """How much a term tells that so many entries have, as bm25s's method lucene weighs it."""
    return math.log(1.0 + (num_entries - frequency + 0.5) / (frequency + 0.5))


def _text(entry: Entry, question: Sequence[str]) -> list[str]:
    """The terms that stand for an entry, as often as they count."""
    tags = [word for tag in entry.tags for word in words(tag)]
    headings = [word for heading in entry.headings for word in words(heading)]
    return terms([*question, *tags]) * WEIGHT + terms(headings) + terms(words(entry.answer))
