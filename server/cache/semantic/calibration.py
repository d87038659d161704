"""From which chance on answers may be given again, so that few enough of them are wrong."""

from __future__ import annotations

import math

import numpy as np

# Log-odds of an answer being right, in steps: below the lowest none is given, above the highest all are alike.
LOWEST, HIGHEST, STEPS = -1.0, 7.0, 80
# What is believed beforehand of the model's own chances: so many wrong ones, as many as it expected, have been seen.
PRIOR_WRONG = 1.0
# The past counts half after so many requests: what is asked changes, and the store fills.
HALF_LIFE = 20_000


class Calibration:
    """What the model expected, and what judges said, by its log-odds.

    The share of wrong answers above a log-odds is what the model expects of all who came, times how much more or less than it expected
    was found wrong in those that were judged, and that at the upper end of a band of ``confidence`` standard deviations.
    """

    def __init__(self, confidence: float) -> None:
        self._confidence = confidence
        self._came = np.zeros(STEPS)
        self._expected = np.zeros(STEPS)
        self._judged_expected = np.zeros(STEPS)
        self._judged_wrong = np.zeros(STEPS)
        self._requests = 0.0

    def request(self) -> None:
        """One more request, with anything near it or nothing."""
        self._requests += 1
        if self._requests >= HALF_LIFE:
            self._requests /= 2
            for counts in (self._came, self._expected, self._judged_expected, self._judged_wrong):
                counts /= 2

    def came(self, log_odds: float) -> None:
        """A request with an answer of these odds of being right."""
        if log_odds >= LOWEST:
            self._came[_step(log_odds)] += 1
            self._expected[_step(log_odds)] += _chance_of_wrong(log_odds)

    def judged(self, log_odds: float, is_right: bool) -> None:
        """What was found of one that came."""
        if log_odds >= LOWEST:
            self._judged_expected[_step(log_odds)] += _chance_of_wrong(log_odds)
            self._judged_wrong[_step(log_odds)] += not is_right

    def threshold(self, bound: float, *, over_hits: bool) -> float:
        """The lowest log-odds above which the share of wrong answers, in all requests or in those answered, is at most ``bound``.
        Infinite where there is none."""
        came, expected, judged_expected, judged_wrong = (
            np.cumsum(counts[::-1])[::-1]
            for counts in (self._came, self._expected, self._judged_expected, self._judged_wrong)
        )
        seen = judged_wrong + PRIOR_WRONG
        factor = (seen + self._confidence * np.sqrt(seen)) / (judged_expected + PRIOR_WRONG)
        wrong = expected * factor
        whole = came if over_hits else np.full(STEPS, self._requests)
        allowed = wrong <= bound * whole
        # From above on: behind one that is too bad none is looked at.
        allowed &= came > 0
        refused = np.flatnonzero(~allowed[::-1])
        empty = int(np.count_nonzero(came == 0))
        first_bad = next((int(place) for place in refused if place >= empty), STEPS)
        if first_bad <= empty:
            return math.inf
        return LOWEST + (STEPS - first_bad) * (HIGHEST - LOWEST) / STEPS


def _step(log_odds: float) -> int:
    return min(STEPS - 1, int((log_odds - LOWEST) / (HIGHEST - LOWEST) * STEPS))


def _chance_of_wrong(log_odds: float) -> float:
    return 1 / (1 + math.exp(log_odds))
