"""Means with 95 % bootstrap intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
LEVEL = (2.5, 97.5)

Floats = NDArray[np.float64]


class Estimate(msgspec.Struct, frozen=True):
    """A value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Resamples:
    """Drawings of ``clusters`` clusters with replacement, the same for everything that is estimated from them.

    Tokens of one piece of text share its difficulty, so pieces are drawn and not tokens; and two models are compared on the
    same pieces. The same seed draws the same.
    """

    def __init__(self, clusters: int, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        # How often each cluster was drawn, [RESAMPLES, clusters].
        self._drawn = generator.multinomial(clusters, np.full(clusters, 1 / clusters), RESAMPLES).astype(np.float64)

    def mean(self, sums: ArrayLike, counts: ArrayLike, then: Callable[[Floats], Floats] | None = None) -> Estimate:
        """The mean of what has these sums over as many members of each cluster (both [clusters]), and of that ``then``."""
        of_cluster = np.stack([np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64)], axis=1)
        whole, drawn = of_cluster.sum(axis=0), self._drawn @ of_cluster
        value, resampled = whole[:1] / whole[1:], drawn[:, 0] / drawn[:, 1]
        if then is not None:
            value, resampled = then(value), then(resampled)
        low, high = np.percentile(resampled, LEVEL)
        return Estimate(float(value[0]), float(low), float(high))
