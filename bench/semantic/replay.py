"""One way of deciding over the whole stream: what was hit, and what was wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pennyweight.server.cache.semantic.bound import Bound
from pennyweight.server.cache.semantic.features import Neighbour
from pennyweight.server.cache.semantic.policy import Policy, Verdict
from pennyweight.server.cache.semantic.standing import Standing
from pennyweight.server.cache.semantic.wording import Wording

from .neighbours import Neighbours
from .pairs import Stream

# As the server's: so many of the nearest are looked at, and none farther than this.
CANDIDATES = 8
LEAST_COSINE = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """For each request whether it was answered from the cache, and whether that was wrong; ``judged`` answers were paid for."""

    hits: npt.NDArray[np.bool_]
    wrong: npt.NDArray[np.bool_]
    judged: int = 0
    audits: int = 0


def replay_static(stream: Stream, neighbours: Neighbours, threshold: float) -> Outcome:
    """The nearest kept text is hit from a fixed cosine on."""
    hits, wrong = nothing(stream)
    kept = np.ones(len(stream.texts), dtype=np.bool_)
    for place, request in enumerate(stream.requests):
        number, cosine = next(((number, cosine) for number, cosine in neighbours.of(place) if kept[number]), (-1, 0.0))
        if number >= 0 and cosine >= threshold:
            hits[place] = True
            wrong[place] = not stream.is_right(request, number)
            kept[request.text] = False
    return Outcome(hits, wrong)


def replay_bounded(
    stream: Stream,
    wordings: Sequence[Wording],
    neighbours: Neighbours,
    bound: Bound,
    on_progress: Callable[[int], None],
) -> Outcome:
    """The server's own policy, over ``wordings`` of all texts; what was generated is judged by the labels."""
    hits, wrong = nothing(stream)
    policy = Policy(bound, LEAST_COSINE)
    standings = [Standing() for _ in stream.texts]
    kept = np.ones(len(stream.texts), dtype=np.bool_)
    judged = audits = noted = 0
    for place, request in enumerate(stream.requests):
        for number in range(noted, request.before):
            if kept[number]:
                policy.note(wordings[number])
        noted = max(noted, request.before)
        nearest = [(number, cosine) for number, cosine in neighbours.of(place) if kept[number]][:CANDIDATES]
        decision = policy.decide(
            hashlib.sha256(stream.texts[request.text].encode()).digest(),
            wordings[request.text],
            [Neighbour(cosine, wordings[number], standings[number]) for number, cosine in nearest],
        )
        if decision.place is not None:
            meant = nearest[decision.place][0]
            is_right = stream.is_right(request, meant)
            if decision.verdict is Verdict.HIT:
                hits[place], wrong[place] = True, not is_right
                kept[request.text] = False
            else:
                policy.learn(decision, is_right)
                if is_right:
                    standings[request.text] = standings[meant]
                judged += 1
                audits += decision.verdict is Verdict.AUDIT
        on_progress(place + 1)
    return Outcome(hits, wrong, judged, audits)


def nothing(stream: Stream) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """No hit and nothing wrong yet, for each request."""
    return np.zeros(len(stream.requests), dtype=np.bool_), np.zeros(len(stream.requests), dtype=np.bool_)
