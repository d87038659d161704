"""Greedy answers of two models to the same prompts: how many are equal, and how long they stay so."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from .bootstrap import Estimate, Resamples


class AnswerScores(msgspec.Struct, frozen=True, kw_only=True):
    """Of ``prompts`` answers of at most ``max_tokens`` tokens: the share that are ``equal``, and the mean number of tokens
    that both begin with alike (``matched_tokens``). ``parted`` has that number for each, None for the equal ones. Intervals are
    over prompts.
    """

    prompts: int
    max_tokens: int
    equal: Estimate
    matched_tokens: Estimate
    parted: tuple[int | None, ...]


def matched_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two answers begin alike."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))


def summarise(
    base: Sequence[Sequence[int]], other: Sequence[Sequence[int]], max_tokens: int, seed: int = 0
) -> AnswerScores | None:
    """The scores of both models' answers, in the prompts' order; None of no prompts."""
    if not base:
        return None
    pairs = list(zip(base, other, strict=True))
    matched = [matched_prefix(*pair) for pair in pairs]
    is_equal = [list(one) == list(two) for one, two in pairs]
    resamples, ones = Resamples(len(pairs), seed), np.ones(len(pairs))
    return AnswerScores(
        prompts=len(pairs),
        max_tokens=max_tokens,
        equal=resamples.mean(is_equal, ones),
        matched_tokens=resamples.mean(matched, ones),
        parted=tuple(None if equal else length for equal, length in zip(is_equal, matched, strict=True)),
    )
