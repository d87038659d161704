"""Whether a kept answer is given again, generated anew although one is there, or not even looked at; and what is learned of it."""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bound import Bound
from .calibration import Calibration
from .threshold_model import Offset, ThresholdModel
from .wording import Comparer, Features, Wording
from .wrong_budget import WrongBudget

# The threshold is found anew after so many requests: it moves slowly, and finding it takes longer than a decision.
REQUESTS_PER_THRESHOLD = 16


class Verdict(enum.StrEnum):
    """NOTHING near was found; HIT gives a kept answer; AUDIT would, but has it generated to see whether it is right; EXPLORE is not
    sure enough of it, and learns."""

    NOTHING = "nothing"
    HIT = "hit"
    AUDIT = "audit"
    EXPLORE = "explore"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kept text that may be meant: its words, its own threshold's offset, and its rank among the nearest, from 0."""

    wording: Wording
    offset: Offset
    rank: int


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """``place`` is the candidate's, None where there is none; ``odds`` are the log-odds of its being right."""

    verdict: Verdict
    place: int | None = None
    features: Features | None = None
    offset: Offset | None = None
    odds: float = -math.inf


class Policy:
    """One tenant's: nothing that is learned of one tenant's questions tells on another's. Deterministic.

    What is given again and what is explored keep to the bound (see ``bound``); a share of those that would be given is audited.
    """

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._comparer = Comparer()
        self._model = ThresholdModel()
        self._calibration = Calibration(bound.confidence)
        self.budget = WrongBudget(bound.audit_share)
        self.requests = 0
        self._threshold = math.inf

    @property
    def threshold(self) -> float:
        """The log-odds from which answers are given again now."""
        return self._threshold

    def note(self, wording: Wording) -> None:
        """Count the words of a text that is kept."""
        self._comparer.note(wording)

    def decide(self, key: bytes, asked: Wording, near: Sequence[Candidate], cosines: Sequence[float]) -> Decision:
        """What is done for a request, by the hash of all that it asks; ``near`` are candidates that may be given at all, nearest
        first, and ``cosines`` those of all the nearest texts."""
        self.requests += 1
        self._calibration.request()
        if self.requests % REQUESTS_PER_THRESHOLD == 0:
            self._threshold = self._calibration.threshold(self._bound.share, over_hits=self._bound.over == "hits")
        if not near:
            return Decision(Verdict.NOTHING)
        crowd = float(np.mean(cosines))
        best = Decision(Verdict.NOTHING)
        for place, one in enumerate(near):
            cosine, others = cosines[one.rank], cosines[: one.rank] or cosines[one.rank + 1 :]
            features = self._comparer.features(asked, one.wording, cosine, max(others, default=0.0), crowd)
            odds = self._model.log_odds(features, one.offset)
            if odds > best.odds:
                best = Decision(Verdict.EXPLORE, place, features, one.offset, odds)
        self._calibration.came(best.odds)
        if best.odds < self._threshold or not self._is_affordable():
            return best
        # Which of them are audited depends on what is asked and on how many came before, so that one asked often is not always let through.
        drawn = hashlib.sha256(key + self.requests.to_bytes(8, "little")).digest()
        audited = int.from_bytes(drawn[:8], "little") < self._bound.audit_share * 2**64
        verdict = Verdict.AUDIT if audited else Verdict.HIT
        return Decision(verdict, best.place, best.features, best.offset, best.odds)

    def learn(self, decision: Decision, is_right: bool) -> None:
        """Take in what a judge says of the candidate of a request that was explored or audited."""
        assert decision.features is not None
        assert decision.offset is not None
        self._calibration.judged(decision.odds, is_right)
        self._model.learn(decision.features, decision.offset, is_right)
        if decision.verdict is Verdict.AUDIT and not is_right:
            self.budget.saw_wrong()

    def unjudged(self, decision: Decision) -> None:
        """Nobody can say of it: an audit then counts as if it had shown a wrong answer, so that the bound holds."""
        if decision.verdict is Verdict.AUDIT:
            self.budget.saw_wrong()

    def _is_affordable(self) -> bool:
        if not self._bound.strict:
            return True
        return self.budget.bound() <= self._bound.share * self.requests
