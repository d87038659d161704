"""95 % bootstrap intervals of percentiles, exact in their resampling and cheap for millions of values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = (2.5, 97.5)
EDGES = 400
MOST_CELLS = 20_000_000

Interval = tuple[float, float]


def percentile_interval(ordered: NDArray[np.float64], percent: float, generator: np.random.Generator) -> Interval:
    """The percentile bootstrap interval of independent values, which are in ascending order.

    No resample is drawn: the k-th smallest of n values drawn with replacement is the value at the rank ceil(n U), where
    U is the k-th smallest of n uniform numbers, and that is Beta(k, n + 1 - k) (order statistics of the uniform
    distribution; Efron and Tibshirani, An Introduction to the Bootstrap, 1993). So each resample costs two numbers.
    """
    n = len(ordered)
    rank = (n - 1) * percent / 100
    below, share = int(rank), rank - int(rank)
    lower = generator.beta(below + 1, n - below, RESAMPLES)
    drawn = ordered[_index(lower, n)]
    if share:
        # Of the n - below - 1 uniform numbers above the lower one, the smallest.
        upper = lower + (1 - lower) * generator.beta(1, n - below - 1, RESAMPLES)
        drawn = drawn + share * (ordered[_index(upper, n)] - drawn)
    low, high = np.percentile(drawn, LEVEL)
    return float(low), float(high)


def clustered_interval(
    groups: Sequence[NDArray[np.float64]], percents: Sequence[float], generator: np.random.Generator
) -> list[Interval]:
    """The intervals of percentiles of pooled values that come in groups, by drawing whole groups.

    The tokens of one answer share its fate, so drawing tokens one by one would promise too much. Values are counted
    between ``EDGES`` quantiles of the pool (closer together towards the top), so an interval's ends are among these. Of
    very many groups (``MOST_CELLS`` counts) neighbours are drawn together.
    """
    pool = np.sort(np.concatenate(groups))
    # From 0 to 1, most densely near 1: the tail is what p99 asks for.
    steps = 1 - (1 - np.linspace(0, 1, EDGES)) ** 2
    edges = np.unique(pool[np.round(steps * (len(pool) - 1)).astype(int)])
    stride = max(1, len(groups) * len(edges) // MOST_CELLS)
    counts = np.stack(
        [
            np.bincount(np.searchsorted(edges, np.concatenate(groups[at : at + stride])), minlength=len(edges))
            for at in range(0, len(groups), stride)
        ]
    ).astype(np.float32)
    n = len(counts)
    drawn = np.empty((RESAMPLES, len(edges)))
    for row in range(RESAMPLES):
        drawn[row] = np.bincount(generator.integers(0, n, n), minlength=n).astype(np.float32) @ counts
    shares = np.cumsum(drawn, axis=1) / drawn.sum(axis=1, keepdims=True)
    found = []
    for percent in percents:
        at = np.argmax(shares >= percent / 100 - 1e-9, axis=1)
        low, high = np.percentile(edges[at], LEVEL)
        found.append((float(low), float(high)))
    return found


def _index(share: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.clip(np.ceil(n * share).astype(np.int64) - 1, 0, n - 1)
    return found
