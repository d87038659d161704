"""How near two texts are, in their vectors, their words and what is known of the kept answer: what its chance is judged by."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from .standing import Standing
from .wording import Wording

Features = npt.NDArray[np.float64]

NUM_FEATURES = 32
BUCKETS = 1 << 15


class Neighbour(msgspec.Struct, frozen=True, array_like=True):
    """A kept text near to what is asked."""

    cosine: float
    wording: Wording
    standing: Standing


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

    def features(self, asked: Wording, neighbours: Sequence[Neighbour], place: int) -> Features:
        """NUM_FEATURES numbers of order 1, the first of them 1, of what is asked and the neighbour at ``place`` among all of them."""
        kept = neighbours[place]
        return np.array(
            (
                1.0,
                *self._words(asked, kept.wording, _nearness(kept.cosine)),
                *_surroundings(neighbours, place),
                *_record(kept.standing),
            )
        )

    def rarity(self, stem: str) -> float:
        """From 0 for what is in every text to 1 for what is in none (inverse document frequency, by its highest value)."""
        return math.log((self._texts + 2) / (int(self._counts[_bucket(stem)]) + 1)) / math.log(self._texts + 2)

    def _words(self, asked: Wording, kept: Wording, nearness: float) -> tuple[float, ...]:
        mine, yours = set(asked.stems), set(kept.stems)
        both = mine & yours
        rarities = {stem: self.rarity(stem) for stem in mine | yours}
        left = sorted((rarities[stem] for stem in mine - yours), reverse=True)
        right = sorted((rarities[stem] for stem in yours - mine), reverse=True)
        whole = sum(rarities.values())
        weighted = sum(rarities[stem] for stem in both) / whole if whole else 1.0
        swapped = min(left[0] if left else 0.0, right[0] if right else 0.0)
        return (
            nearness,
            nearness * nearness,
            len(both) / len(rarities) if rarities else 1.0,
            weighted,
            len(asked.trigrams & kept.trigrams) / max(1, len(asked.trigrams | kept.trigrams)),
            left[0] if left else 0.0,
            right[0] if right else 0.0,
            swapped,
            math.log1p(len(left)),
            math.log1p(len(right)),
            float(not left and not right),
            float(asked.questions == kept.questions),
            abs(math.log((asked.words + 1) / (kept.words + 1))),
            float([one for one in asked.stems if one in both] == [one for one in kept.stems if one in both]),
            math.log1p(len(both)) - 1.0,
            nearness * weighted,
            nearness * swapped,
            weighted * weighted,
            math.log1p(asked.words) - 2.3,
            float(bool(asked.guards.names or kept.guards.names)),
            float(asked.guards.names == kept.guards.names),
            float(bool(asked.guards.numbers)),
            float(asked.points or kept.points),
        )


def _surroundings(neighbours: Sequence[Neighbour], place: int) -> tuple[float, ...]:
    """How far the next text is, the next that has another answer, and the crowd; and how many others have the same answer."""
    kept = neighbours[place]
    others = [one for number, one in enumerate(neighbours) if number != place]
    strangers = [one.cosine for one in others if one.standing is not kept.standing]
    crowd = sum(one.cosine for one in neighbours) / len(neighbours)
    return (
        5 * (kept.cosine - max((one.cosine for one in others), default=0.5)),
        5 * (kept.cosine - max(strangers, default=0.5)),
        5 * (kept.cosine - crowd),
        (len(others) - len(strangers)) / 4,
    )


def _record(standing: Standing) -> tuple[float, ...]:
    """What judges said of the answer so far."""
    judged = standing.right + standing.wrong
    return (
        math.log1p(standing.right),
        math.log1p(standing.wrong),
        float(judged == 0),
        math.log((standing.right + 1) / (standing.wrong + 1)),
    )


def _nearness(cosine: float) -> float:
    """The logarithm of the distance, about 0 at a cosine of 0.83 and 2.9 at 1."""
    return -math.log(2 - 2 * min(cosine, 1.0) + 0.02) - 1.0


def _bucket(stem: str) -> int:
    return zlib.crc32(stem.encode()) % BUCKETS
