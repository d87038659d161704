"""The chance that a kept answer is right for another wording, learned from pairs that were judged.

After vCache (arXiv:2502.03771), where each kept answer has a threshold of its own, learned online from judged pairs: the chance is
sigmoid(steepness * (similarity - threshold)), with a band of confidence. There an entry learns from its own pairs alone, and most have
none or one. Here all entries share one order of pairs, in which cosine is one of several features, and an answer's threshold departs
from the common one as far as its own pairs say so, from a prior (see ``standing``). Both are learned together, one pair at a time, as a
Bayesian logistic regression by extended Kalman steps (Spiegelhalter and Lauritzen 1990, "Sequential updating of conditional
probabilities on directed graphical structures"): a normal prior, whose mean and covariance each pair moves by one Newton step.
"""

from __future__ import annotations

import math

import numpy as np

from .features import NUM_FEATURES, Features
from .standing import Standing

# Standard deviation of a weight's prior.
WEIGHT_PRIOR = 2.0
# Before any pair is judged: an answer is as likely wrong as right, and nearer is better.
START = {0: -1.0, 1: 1.0, 4: 1.0}
# MacKay's (1992): a normal log-odds with variance v counts as its mean over sqrt(1 + PROBIT * v).
PROBIT = math.pi / 8
# What makes it forget: a random walk of the weights, so that a million pairs do not end what can be learned.
DRIFT = 1e-7


class ThresholdModel:
    """The common order and its uncertainty. Deterministic: the same pairs in the same order give the same chances."""

    def __init__(self) -> None:
        self._weights = np.zeros(NUM_FEATURES)
        for place, value in START.items():
            self._weights[place] = value
        self._covariance = np.eye(NUM_FEATURES) * WEIGHT_PRIOR**2

    def log_odds(self, features: Features, standing: Standing) -> float:
        """Of the answer being right, drawn towards even odds as far as they are not known."""
        mean, variance = self._guess(features, standing)
        return mean / math.sqrt(1 + PROBIT * variance)

    def learn(self, features: Features, standing: Standing, is_right: bool) -> None:
        """Take a judged pair in; what is known of the answer is changed in place."""
        mean, variance = self._guess(features, standing)
        # At the predictive mean, not at the mean of the log-odds: steps stay small where little is known.
        chance = 1 / (1 + math.exp(-mean / math.sqrt(1 + PROBIT * variance)))
        curvature = max(chance * (1 - chance), 1e-3)
        gain = (is_right - chance) / (1 + curvature * variance)
        moved = self._covariance @ features
        self._weights += moved * gain
        self._covariance -= np.outer(moved, moved) * (curvature / (1 + curvature * variance))
        self._covariance.flat[:: NUM_FEATURES + 1] += DRIFT
        standing.mean += standing.variance * gain
        standing.variance -= standing.variance**2 * curvature / (1 + curvature * variance)
        if is_right:
            standing.right += 1
        else:
            standing.wrong += 1

    def _guess(self, features: Features, standing: Standing) -> tuple[float, float]:
        mean = float(self._weights @ features) + standing.mean
        return mean, float(features @ self._covariance @ features) + standing.variance
