"""From which odds on answers may be given again, so that few enough of them are wrong."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .evidence import log_evidence

# Log-odds of an answer being right, in steps: below the lowest none is given, above the highest all are alike.
LOWEST, HIGHEST, STEPS = -1.0, 7.0, 80
# A wrong answer that was not seen yet, above any odds.
UNSEEN = 1.0
# The past counts half after so many requests: what is asked changes, and the store fills.
HALF_LIFE = 20_000
# Over hits an estimate won't do: it is looked at after every few requests, and where nothing is sure enough some threshold would soon
# look so by chance, with nothing to make up for the answers that are given then. All thresholds together are wrong with this probability.
ALPHA = 0.05

Counts = npt.NDArray[np.float64]


class Calibration:
    """What judges said of answers, by the log-odds that the model gave them.

    The share of wrong ones among all that came above some odds is that among those judged, each of which counts as many times as its
    chance of being judged says (Hájek's ratio of Horvitz and Thompson's sums): an audit 1 / audit_share times, what was explored once. The upper
    end of a band of ``confidence`` standard deviations (of a weighted Poisson count) has to keep to the bound. Over hits that must be
    proven as well (see ``evidence``). The model's odds give the order alone; that they are right is not assumed, but that the next
    requests are like the last ones is.
    """

    def __init__(self, confidence: float) -> None:
        self._confidence = confidence
        self._came = np.zeros(STEPS)
        self._wrong = np.zeros(STEPS)
        self._variance = np.zeros(STEPS)
        self._judged = np.zeros(STEPS)
        self._seen_right = np.zeros(STEPS)
        self._seen_wrong = np.zeros(STEPS)
        self._requests = 0.0
        self._share = 1.0

    def request(self) -> None:
        """One more request, with anything near it or nothing."""
        self._requests += 1
        if self._requests >= 2 * HALF_LIFE:
            self._requests /= 2
            for counts in (
                *(self._came, self._judged, self._wrong, self._variance),
                *(self._seen_right, self._seen_wrong),
            ):
                counts /= 2

    def came(self, odds: float) -> None:
        """A request with an answer of these odds of being right."""
        if odds >= LOWEST:
            self._came[_step(odds)] += 1

    def judged(self, odds: float, is_right: bool, weight: float) -> None:
        """What was found of one that came, which counts ``weight`` times."""
        if odds < LOWEST:
            return
        step = _step(odds)
        self._judged[step] += weight
        if is_right:
            self._seen_right[step] += 1
        else:
            self._seen_wrong[step] += 1
            self._wrong[step] += weight
            self._variance[step] += weight * weight

    def threshold(self, share: float, *, over_hits: bool) -> float:
        """The lowest odds above which the share of wrong answers, in all requests or in those answered, is at most ``share``.
        Infinite where there are none."""
        came, seen = _above(self._came), _above(self._wrong) + UNSEEN
        each = came / np.maximum(_above(self._judged), 1.0)
        highest = each * (seen + self._confidence * np.sqrt(_above(self._variance) + UNSEEN))
        keeps = highest <= share * (came if over_hits else self._requests)
        if over_hits:
            # Each judged one once: those that weigh more have the higher odds, so without weights it says rather too little.
            evidence = log_evidence(_above(self._seen_right), _above(self._seen_wrong), share)
            keeps &= evidence >= math.log(STEPS / ALPHA)
        allowed = np.flatnonzero(keeps)
        if not len(allowed):
            return math.inf
        place = int(allowed[0])
        self._share = min(1.0, float(each[place] * seen[place] / max(came[place], 1.0)))
        return LOWEST + place * (HIGHEST - LOWEST) / STEPS

    def share_of_wrong(self) -> float:
        """Of the answers above the last threshold."""
        return self._share


def _above(counts: Counts) -> Counts:
    """For each step the sum over it and those above."""
    return np.cumsum(counts[::-1])[::-1]


def _step(odds: float) -> int:
    return min(STEPS - 1, int((odds - LOWEST) / (HIGHEST - LOWEST) * STEPS))
