"""How far two engines are from each other over a recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from pennyweight.bench.replay.manifests import Difference
from pennyweight.bench.replay.score import least_kl
from pennyweight.bench.replay.totals import count
from pennyweight.quantize.quality.answers import AnswerScores, matched_prefix, summarise
from pennyweight.quantize.quality.bootstrap import Estimate, Resamples

from .heard import Heard

# Of the distribution of differences so many quantiles are kept.
QUANTILES = 201
BEFORE, AFTER = 60, 40


class Parted(msgspec.Struct, frozen=True):
    """Two answers that are not the same: the text that both end with alike, and how each goes on."""

    id: str
    position: int
    before: str
    one: str
    other: str


class Forced(msgspec.Struct, frozen=True, kw_only=True):
    """Over ``places`` of recorded answers, read as part of the prompt: how often both engines' most probable token is the same; KL(A || B) is
    at least ``kl``, nats a token; the absolute difference of the recorded tokens' log-probabilities, its ``quantiles`` at even distances;
    and minus the mean log-probability of each. Intervals are over requests.
    """

    requests: int
    places: int
    top1: Estimate
    kl: Estimate
    difference: Estimate
    largest_difference: float
    quantiles: tuple[float, ...]
    nll: tuple[Estimate, Estimate]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """An engine as it was asked for, with the model and the fingerprint of its first answer."""

    name: str
    model: str = ""
    fingerprint: str = ""


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Of two engines. ``answers`` are their own greedy ones, ``forced`` is None where an engine tells no ``prompt_logprobs``.
    ``other_prompts`` of the requests became other tokens for one than for the other. ``left_out`` says why requests are.
    """

    one: Side
    other: Side
    requests: int
    other_prompts: int
    answers: AnswerScores | None
    forced: Forced | None
    parts: tuple[Difference, ...] = ()
    parted: tuple[Parted, ...] = ()
    left_out: dict[str, int] = msgspec.field(default_factory=dict)


class Pairs:
    """Takes in what both engines said to one request after the other; ``show`` answers that part are kept with their texts."""

    def __init__(self, show: int) -> None:
        self.left_out: Counter[str] = Counter()
        self._show = show
        self._tokens: tuple[list[Sequence[int]], list[Sequence[int]]] = ([], [])
        self._other_prompts = 0
        self._parted: list[Parted] = []
        # Of each scored request: places, places with the same top token, the sums of the others.
        self._sums: list[tuple[float, ...]] = []
        self._differences: list[np.ndarray] = []

    def add(self, one: Heard, other: Heard) -> None:
        """One request's."""
        if one.error or other.error:
            count(self.left_out, one.error or other.error)
            return
        for tokens, heard in zip(self._tokens, (one, other), strict=True):
            tokens.append(heard.token_ids)
        self._other_prompts += one.prompt_token_ids != other.prompt_token_ids
        if one.token_ids != other.token_ids and len(self._parted) < self._show:
            self._parted.append(_parted(one, other))
        if one.score is None or other.score is None:
            count(self.left_out, f"not scored: {one.unscored or other.unscored}")
            return
        mine, theirs = np.asarray(one.score.logprobs), np.asarray(other.score.logprobs)
        difference = np.abs(mine - theirs)
        self._differences.append(difference)
        agree = sum(a[:1] == b[:1] for a, b in zip(one.score.top_ids, other.score.top_ids, strict=True))
        kl = sum(least_kl(one.score, other.score, place, token) for place, token in enumerate(one.answer))
        self._sums.append((len(mine), agree, kl, difference.sum(), -mine.sum(), -theirs.sum()))

    def drift(self, one: Side, other: Side, parts: tuple[Difference, ...], seed: int) -> Drift:
        """What all of it comes to."""
        most = max((len(one) for tokens in self._tokens for one in tokens), default=0)
        return Drift(
            one=one,
            other=other,
            requests=len(self._tokens[0]),
            other_prompts=self._other_prompts,
            answers=summarise(*self._tokens, max_tokens=most, seed=seed),
            forced=self._forced(seed) if self._sums else None,
            parts=parts,
            parted=tuple(self._parted),
            left_out=dict(self.left_out),
        )

    def _forced(self, seed: int) -> Forced:
        places, agree, kl, difference, mine, theirs = np.asarray(self._sums).T
        resamples = Resamples(len(places), seed)
        ordered = np.sort(np.concatenate(self._differences))
        return Forced(
            requests=len(places),
            places=int(places.sum()),
            top1=resamples.mean(agree, places),
            kl=resamples.mean(kl, places),
            difference=resamples.mean(difference, places),
            largest_difference=float(ordered[-1]),
            quantiles=tuple(float(one) for one in np.quantile(ordered, np.linspace(0, 1, QUANTILES))),
            nll=(resamples.mean(mine, places), resamples.mean(theirs, places)),
        )


def _parted(one: Heard, other: Heard) -> Parted:
    position = matched_prefix(one.token_ids, other.token_ids)
    alike = matched_prefix([*map(ord, one.text)], [*map(ord, other.text)])
    ends = (one.text[alike : alike + AFTER], other.text[alike : alike + AFTER])
    return Parted(one.id, position, one.text[max(alike - BEFORE, 0) : alike], *ends)
