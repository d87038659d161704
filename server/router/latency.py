"""How long each model takes now, from the answers that it has just given."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

# An observation counts half after so many seconds: a model that was slow is thought quick again when it has been left alone for a while.
HALF_LIFE = 20.0
# What is expected of an answer's length where the request doesn't say.
EXPECTED_TOKENS = 256


class _DecayingMean:
    """A mean in which what was observed ``HALF_LIFE`` seconds ago weighs half; with no recent observations it falls towards 0."""

    __slots__ = ("_sum", "_weight", "_when")

    def __init__(self) -> None:
        self._sum = self._weight = self._when = 0.0

    def add(self, value: float, now: float) -> None:
        self._decay(now)
        self._sum += value
        self._weight += 1.0

    def value(self, now: float) -> float:
        # With less than one observation's weight left, the rest is thought to be 0.
        self._decay(now)
        return self._sum / max(self._weight, 1.0)

    def _decay(self, now: float) -> None:
        factor = math.exp2(-max(0.0, now - self._when) / HALF_LIFE)
        self._sum *= factor
        self._weight *= factor
        self._when = now


@dataclass(frozen=True, slots=True)
class Expected:
    """Seconds to the first token, for each further one, and for the whole answer."""

    ttft: float
    tpot: float
    total: float


class Latency:
    """One model's pace, and how many requests the router has under way there. ``clock`` gives seconds.

    The time to the first token is taken to grow with the requests under way, from what it was at as many as there were on average:
    that overrates an engine that batches, but never makes an idle one look worse than a busy one of its kind.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ttft, self._tpot, self._company = _DecayingMean(), _DecayingMean(), _DecayingMean()
        self.under_way = 0

    def first_token(self, seconds: float) -> None:
        """A request's first token has come so many seconds after it was given to the model."""
        now = self._clock()
        self._ttft.add(seconds, now)
        self._company.add(self.under_way, now)

    def finished(self, seconds: float, tokens: int) -> None:
        """An answer of so many tokens is whole, so many seconds after its first."""
        if tokens > 1:
            self._tpot.add(seconds / (tokens - 1), self._clock())

    def expected(self, max_tokens: int | None) -> Expected:
        """For a request more; 0 for a model that nothing is known of, so that it is tried."""
        now = self._clock()
        tokens = EXPECTED_TOKENS if max_tokens is None else min(max_tokens, EXPECTED_TOKENS)
        ttft = self._ttft.value(now) * (self.under_way + 1) / max(self._company.value(now), 1.0)
        tpot = self._tpot.value(now)
        return Expected(ttft, tpot, ttft + tokens * tpot)
