"""How many requests an engine works on at a time, where its answers are to keep a pace."""

from __future__ import annotations

import math

# Of the objective: a mean that lay on it would leave half of the answers beyond.
AIM = 0.8
ROUND_SECONDS = 1.0
ROUND_INTERVALS = 16
LEAST_GRADIENT = 0.5
MOST_GRADIENT = 1.25


class BatchLimit:
    """The gradient of Netflix's "Performance Under Load": the limit is multiplied by latency wanted over latency seen.

    The latency is an engine's step, the time between two tokens of an answer (TPOT), which knows nothing of how long answers are. A
    larger batch has longer steps, by design and up to the engine's own bound; how long they may get only an objective
    (``max_tpot``, seconds) can say. None sets no limit. A step grows with its batch at most in proportion, so each round brings
    the limit nearer to where the step is ``AIM`` of the objective.
    """

    def __init__(self, max_tpot: float | None) -> None:
        self.size = math.inf
        self._aim = max_tpot and AIM * max_tpot
        self._was_full = False
        self._began = 0.0
        self._sum = 0.0
        self._count = 0

    def full(self) -> None:
        """Somebody had to wait for it; a limit that nobody reaches has no need to grow."""
        self._was_full = True

    def interval(self, seconds: float, tokens: int, in_flight: int, now: float) -> None:
        """So many tokens of one answer came in ``seconds``, while ``in_flight`` were worked on."""
        if self._aim is None:
            return
        if not self._count:
            self._began = now
        self._sum += seconds
        self._count += tokens
        if self._count >= ROUND_INTERVALS and now - self._began >= ROUND_SECONDS:
            self._adapt(self._aim * self._count / self._sum if self._sum else MOST_GRADIENT, in_flight)
            self._sum, self._count, self._was_full = 0.0, 0, False

    def _adapt(self, gradient: float, in_flight: int) -> None:
        if gradient < 1:
            self.size = max(1.0, min(self.size, in_flight) * max(gradient, LEAST_GRADIENT))
        elif self._was_full:
            self.size *= min(gradient, MOST_GRADIENT)
