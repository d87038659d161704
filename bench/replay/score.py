"""What a model's logits say of an answer that is given: of each of its tokens, and of those that it could have been.

The answer is read as part of a prompt (teacher forcing), so that two models are compared over the same tokens, also where
they would have gone on otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from .answer import Ranked

# Below that what the known tokens leave of a distribution is what rounding leaves.
LEAST_REST = 1e-6


class Unscored(Exception):
    """A server didn't say what its logits say of an answer; the message says why."""


class Score(msgspec.Struct, frozen=True):
    """Of each token of an answer its natural-log probability, and the most probable tokens of its place with theirs, the first the most."""

    logprobs: list[float]
    top_ids: list[list[int]]
    top_logprobs: list[list[float]]

    def agrees(self, place: int, token: int) -> bool:
        """Whether that token is the most probable one of its place."""
        return bool(self.top_ids[place]) and self.top_ids[place][0] == token


def read_score(places: Sequence[Mapping[str, Ranked] | None], answer: Sequence[int]) -> Score:
    """The score of what a server tells of each place, as ``prompt_logprobs``. Raises Unscored for what doesn't fit the answer."""
    if len(places) != len(answer):
        raise Unscored(f"the server tells of {len(places)} tokens where {len(answer)} were given")
    score = Score([], [], [])
    for place, token in zip(places, answer, strict=True):
        if place is None or str(token) not in place:
            raise Unscored("the server doesn't tell the probability of a token that was given")
        ordered = sorted(
            ((one.rank, int(name), one.logprob) for name, one in place.items() if one.rank is not None),
        )
        score.logprobs.append(place[str(token)].logprob)
        score.top_ids.append([name for _, name, _ in ordered])
        score.top_logprobs.append([logprob for _, _, logprob in ordered])
    return score


def least_kl(one: Score, other: Score, place: int, token: int) -> float:
    """At least so much is KL(one || other) of the place, whose token is ``token``, in nats: that of the tokens whose probability both tell,
    all others taken as one. (Of a coarser partition the divergence is never greater: Cover and Thomas, Elements of Information Theory, 2.)
    """
    mine = _known(one, place, token)
    theirs = _known(other, place, token)
    both = mine.keys() & theirs.keys()
    found = sum(math.exp(mine[name]) * (mine[name] - theirs[name]) for name in both)
    rest = 1 - math.fsum(math.exp(mine[name]) for name in both)
    if rest > LEAST_REST:
        others = max(1 - math.fsum(math.exp(theirs[name]) for name in both), LEAST_REST)
        found += rest * math.log(rest / others)
    return max(found, 0.0)


def _known(score: Score, place: int, token: int) -> dict[int, float]:
    found = dict(zip(score.top_ids[place], score.top_logprobs[place], strict=True))
    return found | {token: score.logprobs[place]}
