"""How near two texts are in their words, beside how near their vectors are: what the chance of one answer for both is judged by."""

from __future__ import annotations

import math
import re
import unicodedata
import zlib

import msgspec
import numpy as np
import numpy.typing as npt

from .word_set import word_set

Features = npt.NDArray[np.float64]

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
# Words that say little of what is asked; those that begin questions are compared apart.
STOP_WORDS = word_set(
    "a an the is are was were be been being am do does did have has had of to in on for at by with from as and or that this these those it "
    "its i me my you your we our they their he she his her one ones there here so very just really also some any all most more can could "
    "will would should shall may might must get got"
)
QUESTION_WORDS = word_set("what which who whom whose when where why how")
SUFFIXES = ("ings", "ing", "edly", "ies", "ied", "ers", "er", "est", "ed", "es", "ly", "s", "e")
SHORTEST_STEM = 3
BUCKETS = 1 << 15
# Of a cosine and of what is told from two texts: see Comparer.features.
NUM_FEATURES = 22


class Wording(msgspec.Struct, frozen=True, array_like=True):
    """A text's words: ``stems`` of those that carry meaning, in order, the ``questions`` it asks by, and its characters by threes."""

    stems: tuple[str, ...]
    questions: tuple[str, ...]
    trigrams: frozenset[str]
    words: int


def wording_of(text: str) -> Wording:
    """The words of a text."""
    words = [
        one.replace("’", "'").removesuffix("'s") for one in WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    ]
    padded = f"  {' '.join(words)} "
    return Wording(
        stems=tuple(_stem(word) for word in words if word not in STOP_WORDS and word not in QUESTION_WORDS),
        questions=tuple(word for word in words if word in QUESTION_WORDS),
        trigrams=frozenset(padded[place : place + 3] for place in range(len(padded) - 2)),
        words=len(words),
    )


class Comparer:
    """Compares texts, with how rare words are in those that were ``note``d. One for a tenant: counts tell of what was asked.

    Counts are kept by the words' hashes, so that their memory is bounded (BUCKETS numbers).
    """

    def __init__(self) -> None:
        self._counts = np.zeros(BUCKETS, dtype=np.int32)
        self._texts = 0

    def note(self, wording: Wording) -> None:
        """Count a text's words."""
        self._texts += 1
        for stem in set(wording.stems):
            self._counts[_bucket(stem)] += 1

    def rarity(self, stem: str) -> float:
        """From 0 for what is in every text to 1 for what is in none (inverse document frequency, by its highest value)."""
        return math.log((self._texts + 2) / (int(self._counts[_bucket(stem)]) + 1)) / math.log(self._texts + 2)

    def features(self, asked: Wording, kept: Wording, cosine: float, runner_up: float, crowd: float) -> Features:
        """NUM_FEATURES numbers of order 1, the first of them 1. ``runner_up`` is the cosine of the next nearest text, ``crowd`` the
        mean cosine of the nearest."""
        mine, yours = set(asked.stems), set(kept.stems)
        both = mine & yours
        rarities = {stem: self.rarity(stem) for stem in mine | yours}
        left = sorted((rarities[stem] for stem in mine - yours), reverse=True)
        right = sorted((rarities[stem] for stem in yours - mine), reverse=True)
        shared, whole = sum(rarities[stem] for stem in both), sum(rarities.values())
        jaccard = len(both) / len(rarities) if rarities else 1.0
        weighted = shared / whole if whole else 1.0
        grams = len(asked.trigrams & kept.trigrams) / max(1, len(asked.trigrams | kept.trigrams))
        one, other = [s for s in asked.stems if s in both], [s for s in kept.stems if s in both]
        nearness = -math.log(2 - 2 * min(cosine, 1.0) + 0.02)
        swapped = min(left[0] if left else 0.0, right[0] if right else 0.0)
        return np.array(
            (
                1.0,
                nearness - 1.0,
                (nearness - 1.0) ** 2,
                jaccard,
                weighted,
                grams,
                left[0] if left else 0.0,
                right[0] if right else 0.0,
                swapped,
                math.log1p(len(left)),
                math.log1p(len(right)),
                float(not left and not right),
                float(asked.questions == kept.questions),
                abs(math.log((asked.words + 1) / (kept.words + 1))),
                float(one == other),
                math.log1p(len(both)) - 1.0,
                5 * (cosine - runner_up),
                5 * (cosine - crowd),
                (nearness - 1.0) * weighted,
                (nearness - 1.0) * swapped,
                weighted * weighted,
                math.log1p(asked.words) - 2.3,
            )
        )


def _stem(word: str) -> str:
    for suffix in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= SHORTEST_STEM:
            return word[: -len(suffix)]
    return word


def _bucket(stem: str) -> int:
    return zlib.crc32(stem.encode()) % BUCKETS
