"""The chance that a kept answer is right for another wording, learned from pairs that were judged.

After vCache (arXiv:2502.03771), where each kept answer has a threshold of its own, learned online from judged pairs: the chance is
sigmoid(steepness * (similarity - threshold)), with a band of confidence. There an entry learns from its own pairs alone, and most have
none or one. Here all entries share one order of pairs, in which cosine is one of several features, and an entry's threshold departs
from the common one by an offset with a prior: as far as its own pairs say so. Both are learned together, one pair at a time, as a
Bayesian logistic regression by extended Kalman steps (Spiegelhalter and Lauritzen 1990, "Sequential updating of conditional
probabilities on directed graphical structures"): a normal prior, whose mean and covariance each pair moves by one Newton step.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from .wording import NUM_FEATURES, Features

# Standard deviations of the priors: of a weight, and of an entry's offset in log-odds.
WEIGHT_PRIOR = 2.0
OFFSET_PRIOR = 1.0
# Before any pair is judged: an answer is as likely wrong as right, and nearer is better.
START = {0: -1.0, 1: 1.0, 4: 1.0}
# MacKay's (1992): a normal log-odds with variance v counts as its mean over sqrt(1 + PROBIT * v).
PROBIT = math.pi / 8
# What makes it forget: a random walk of the weights, so that a million pairs do not end what can be learned.
DRIFT = 1e-7


class Offset(msgspec.Struct):
    """An entry's own departure, in log-odds: ``mean`` and ``variance``."""

    mean: float = 0.0
    variance: float = OFFSET_PRIOR**2


class ThresholdModel:
    """The common order and its uncertainty. Deterministic: the same pairs in the same order give the same chances."""

    def __init__(self) -> None:
        self._weights = np.zeros(NUM_FEATURES)
        for place, value in START.items():
            self._weights[place] = value
        self._covariance = np.eye(NUM_FEATURES) * WEIGHT_PRIOR**2

    def log_odds(self, features: Features, offset: Offset, confidence: float = 0.0) -> float:
        """Of the answer being right: the lower end of a band of ``confidence`` standard deviations, 0 for the middle of it."""
        mean, variance = self._guess(features, offset)
        if confidence:
            return mean - confidence * math.sqrt(variance)
        return mean / math.sqrt(1 + PROBIT * variance)

    def learn(self, features: Features, offset: Offset, is_right: bool) -> None:
        """Take a judged pair in; the entry's offset is changed in place."""
        mean, variance = self._guess(features, offset)
        # At the predictive mean, not at the mean of the log-odds: steps stay small where little is known.
        chance = 1 / (1 + math.exp(-mean / math.sqrt(1 + PROBIT * variance)))
        curvature = max(chance * (1 - chance), 1e-3)
        gain = (is_right - chance) / (1 + curvature * variance)
        moved = self._covariance @ features
        self._weights += moved * gain
        self._covariance -= np.outer(moved, moved) * (curvature / (1 + curvature * variance))
        self._covariance.flat[:: NUM_FEATURES + 1] += DRIFT
        offset.mean += offset.variance * gain
        offset.variance -= offset.variance**2 * curvature / (1 + curvature * variance)

    def _guess(self, features: Features, offset: Offset) -> tuple[float, float]:
        mean = float(self._weights @ features) + offset.mean
        return mean, float(features @ self._covariance @ features) + offset.variance
