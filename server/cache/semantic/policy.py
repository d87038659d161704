"""Whether a kept answer is given again, generated anew although one is there, or not even looked at; and what is learned of it."""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .bound import Bound
from .calibration import Calibration
from .features import Comparer, Features, Neighbour
from .guards import agree
from .standing import Standing
from .threshold_model import ThresholdModel
from .wording import Wording
from .wrong_budget import WrongBudget

# The threshold is found anew after so many requests: it moves slowly, and finding it takes longer than a decision.
REQUESTS_PER_THRESHOLD = 16
# Wrong answers that were allowed and not given may be given later, spread over so many requests.
CATCH_UP_REQUESTS = 2000
# What these would allow is kept back: the first estimates are of few judged answers.
WARM_UP_REQUESTS = 250
# Of the strict bound a part is taken up by what audits can't tell.
STRICT_SHARE = 0.6


class Verdict(enum.StrEnum):
    """NOTHING near was found; HIT gives a kept answer; AUDIT would, but has it generated to see whether it is right; EXPLORE is not
    sure enough of it, and learns."""

    NOTHING = "nothing"
    HIT = "hit"
    AUDIT = "audit"
    EXPLORE = "explore"


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """``place`` is that of the neighbour whose answer is meant, None where there is none; ``odds`` are the log-odds of its being right."""

    verdict: Verdict
    place: int | None = None
    features: Features | None = None
    standing: Standing | None = None
    odds: float = -math.inf


class Policy:
    """One tenant's: nothing that is learned of one tenant's questions tells on another's. Deterministic.

    Answers are given from those odds on above which the share of wrong ones keeps to the bound, by the calibration's count of judged
    ones; over requests also no more than the bound leaves room for by now. Of what would be given a share is audited.
    """

    def __init__(self, bound: Bound, least_cosine: float = 0.0) -> None:
        """Neighbours below ``least_cosine`` are not looked at."""
        self._bound = bound
        self._least_cosine = least_cosine
        self._comparer = Comparer()
        self._model = ThresholdModel()
        self._calibration = Calibration(bound.confidence)
        self._threshold = math.inf
        self.budget = WrongBudget(bound.audit_share)
        self.requests = 0
        self.expected_wrong = 0.0  # of those given, as the calibration has it

    @property
    def threshold(self) -> float:
        """The log-odds from which on answers are given, as of the last decision."""
        return self._threshold

    def note(self, wording: Wording) -> None:
        """Count the words of a text that is kept."""
        self._comparer.note(wording)

    def decide(self, key: bytes, asked: Wording, neighbours: Sequence[Neighbour]) -> Decision:
        """What is done for a request, by the hash of all that it asks; ``neighbours`` are the nearest texts, nearest first."""
        self.requests += 1
        self._calibration.request()
        if self.requests % REQUESTS_PER_THRESHOLD == 0:
            self._threshold = self._calibration.threshold(self._allowed_share(), over_hits=self._bound.over == "hits")
        best = self._best(asked, neighbours)
        if best.place is None:
            return best
        self._calibration.came(best.odds)
        if best.odds < self._threshold or not self._has_room():
            return best
        verdict = Verdict.AUDIT if self._is_audited(key) else Verdict.HIT
        if verdict is Verdict.HIT:
            self.expected_wrong += self._calibration.share_of_wrong()
        return Decision(verdict, best.place, best.features, best.standing, best.odds)

    def likely(self, asked: Wording, neighbours: Sequence[Neighbour]) -> int | None:
        """The place of the neighbour whose answer is as likely right as those that are given, if any is: for who would get none at all
        otherwise. It counts for nothing, and is not audited."""
        best = self._best(asked, neighbours)
        return best.place if best.odds >= self._threshold else None

    def _best(self, asked: Wording, neighbours: Sequence[Neighbour]) -> Decision:
        best = Decision(Verdict.NOTHING)
        for place, one in enumerate(neighbours):
            if one.cosine < self._least_cosine or not agree(asked.guards, one.wording.guards):
                continue
            features = self._comparer.features(asked, neighbours, place)
            odds = self._model.log_odds(features, one.standing)
            if odds > best.odds:
                best = Decision(Verdict.EXPLORE, place, features, one.standing, odds)
        return best

    def learn(self, decision: Decision, is_right: bool) -> None:
        """Take in what a judge says of the answer that was meant for a request that was explored or audited."""
        assert decision.features is not None
        assert decision.standing is not None
        is_audit = decision.verdict is Verdict.AUDIT
        self._calibration.judged(decision.odds, is_right, 1 / self._bound.audit_share if is_audit else 1.0)
        self._model.learn(decision.features, decision.standing, is_right)
        if decision.verdict is Verdict.AUDIT and not is_right:
            self.budget.saw_wrong()

    def unjudged(self, decision: Decision) -> None:
        """Nobody can say of it: an audit then counts as if it had shown a wrong answer, so that the bound holds."""
        if decision.verdict is Verdict.AUDIT:
            self.budget.saw_wrong()

    def _allowed_share(self) -> float:
        """The bound; over requests, with what it left unused so far."""
        share = self._bound.share
        if self._bound.over == "hits":
            return share
        if self._bound.strict:
            return STRICT_SHARE * share
        unused = share * (self.requests - WARM_UP_REQUESTS) - self.expected_wrong
        return min(2 * share, max(share / 2, share + unused / CATCH_UP_REQUESTS))

    def _has_room(self) -> bool:
        if self._bound.over == "hits":
            return True
        if self._bound.strict and self.budget.bound() > self._bound.share * self.requests:
            return False
        allowed = self._bound.share * (self.requests - WARM_UP_REQUESTS)
        return self.expected_wrong + self._calibration.share_of_wrong() <= allowed

    def _is_audited(self, key: bytes) -> bool:
        # By what is asked and how many came before, so that a question that is asked often is not let through every time.
        drawn = hashlib.sha256(key + self.requests.to_bytes(8, "little")).digest()
        return int.from_bytes(drawn[:8], "little") < self._bound.audit_share * 2**64
