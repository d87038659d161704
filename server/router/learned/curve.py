"""How good a router's order is: the quality that each share of strong answers brings, and the figures of that curve.

PGR, APGR and CPT are those of RouteLLM (arXiv:2406.18665), AIQ that of RouterBench (arXiv:2403.12031). Prompts with equal scores
are averaged over their orders: the curve is straight across them, so that a score that says nothing is exactly a random one.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from .examples import Floats

HULL_POINTS = 401


class Curve(msgspec.Struct, frozen=True):
    """At rising shares of strong answers, from 0 to 1: mean quality and mean cost."""

    shares: Floats
    quality: Floats
    cost: Floats

    @property
    def recovered(self) -> Floats:
        """PGR at each share: what part of the gap between the models is closed. NaN where strong is not better than weak."""
        gap = self.quality[-1] - self.quality[0]
        return (self.quality - self.quality[0]) / gap if gap > 0 else np.full_like(self.quality, np.nan)

    @property
    def apgr(self) -> float:
        """The mean of PGR over the strong share from 0 to 1."""
        return float(np.trapezoid(self.recovered, self.shares))

    @property
    def aiq(self) -> float:
        """The mean quality of the curve's non-decreasing convex hull over the cost, from always weak to always strong.

        Of a curve with more points the hull is that of ``HULL_POINTS`` of them, at even steps.
        """
        kept = np.unique(np.linspace(0, len(self.cost) - 1, HULL_POINTS).astype(np.intp))
        order = kept[np.argsort(self.cost[kept], kind="stable")]
        hull: list[tuple[float, float]] = []
        for x, y in zip(self.cost[order].tolist(), self.quality[order].tolist(), strict=True):
            if hull and x == hull[-1][0]:
                y = max(y, hull.pop()[1])
            while len(hull) > 1 and _lies_below(hull[-2], hull[-1], (x, y)):
                hull.pop()
            hull.append((x, y))
        costs = np.array([x for x, _ in hull])
        best = np.maximum.accumulate([y for _, y in hull])
        width = costs[-1] - costs[0]
        return float(np.trapezoid(best, costs) / width) if width > 0 else float(best[-1])

    def share_for_gap(self, part: float) -> float:
        """CPT: the least strong share whose PGR is ``part``."""
        return self._first(self.recovered, part)

    def share_for_quality(self, part: float) -> float:
        """The least strong share whose quality is ``part`` of always strong's."""
        return self._first(self.quality, part * self.quality[-1])

    def _first(self, values: Floats, wanted: float) -> float:
        """The share at which ``values`` first reach what is wanted, linearly between points; NaN where they never do."""
        reached = np.flatnonzero(values >= wanted - 1e-12)
        if len(reached) == 0:
            return float("nan")
        place = int(reached[0])
        if place == 0:
            return 0.0
        low, high = values[place - 1], values[place]
        step = min(1.0, (wanted - low) / (high - low))
        return float(self.shares[place - 1] + step * (self.shares[place] - self.shares[place - 1]))


class Order:
    """Examples sorted once by falling score; ``curve`` is then quick for any weights of them, as a bootstrap asks."""

    def __init__(self, score: Floats, weak: Floats, strong: Floats, weak_cost: Floats, strong_cost: Floats) -> None:
        self._order = np.argsort(-score, kind="stable")
        ordered = score[self._order]
        self._starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        rows = (np.ones_like(weak), strong - weak, strong_cost - weak_cost, weak, weak_cost)
        self._columns = np.stack([row[self._order] for row in rows])

    def curve(self, weights: NDArray[np.int64] | None = None) -> Curve:
        """The curve; ``weights`` say how often each example counts, and their sum is positive."""
        columns = self._columns if weights is None else self._columns * weights[self._order]
        total = columns[0].sum()
        grouped = np.add.reduceat(columns[:3], self._starts, axis=1).cumsum(axis=1) / total
        shares, gained, spent = np.concatenate([np.zeros((3, 1)), grouped], axis=1)
        return Curve(shares, columns[3].sum() / total + gained, columns[4].sum() / total + spent)


def _lies_below(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether ``middle`` lies on or below the line from left to right."""
    return (middle[1] - left[1]) * (right[0] - left[0]) <= (right[1] - left[1]) * (middle[0] - left[0])
