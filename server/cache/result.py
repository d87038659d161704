"""What the response cache did for a request."""

from __future__ import annotations

import enum
from collections.abc import Iterable


class CacheResult(enum.StrEnum):
    """It took no part, had an answer generated and kept, had the request share the generation of another that was under way, gave a kept
    answer whose time was over because no model could answer, or gave a kept answer. In this order: the first is the most that was
    computed, or the least that was promised."""

    BYPASS = "bypass"
    MISS = "miss"
    SHARED = "shared"
    STALE = "stale"
    HIT = "hit"


# Kept answers that were given, which have an age.
KEPT = frozenset({CacheResult.STALE.value, CacheResult.HIT.value})


_ORDER = {result.value: place for place, result in enumerate(CacheResult)}
# What a cache inside this one says stands before a kept answer of the same request, and after what was generated.
_OF_ANOTHER_CACHE = _ORDER[CacheResult.SHARED.value] + 0.5
# What the semantic cache says of an answer that it gives.
SEMANTIC = "semantic"
# Of what nothing was computed for the request that it is told of.
GIVEN_AGAIN = KEPT | {CacheResult.SHARED.value, SEMANTIC}


def result_of_all(results: Iterable[str]) -> str:
    """What a call of several prompts is told: what was done for the one that took the most, so that ``hit`` means that all were."""
    return min(results, key=lambda result: _ORDER.get(result, _OF_ANOTHER_CACHE))
