"""Finds the knee of a curve of throughput over load: from where on more load brings little more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SENSITIVITY = 1.0
LEAST_POINTS = 3
# Of the normalised curve above the straight line: less is the noise of a curve that has not begun to bend.
LEAST_BEND = 0.05


def find_knee(loads: Sequence[float], throughputs: Sequence[float]) -> int | None:
    """The index of the knee, or None where the curve doesn't bend (yet).

    Kneedle (Satopää, Albrecht, Irwin and Raghavan, Finding a "Kneedle" in a Haystack, ICDCS Workshops 2011) for a concave
    rising curve, offline, without smoothing, as points are few and each is the mean of a whole load: both axes are scaled
    to 0..1, and a local maximum of the curve's height above the diagonal is the knee if the height falls by
    ``SENSITIVITY`` mean steps of the load after it and before it rises higher. The origin is a point of every
    curve: no load gives no throughput. Loads must be in ascending order.
    """
    if len(loads) < LEAST_POINTS or max(throughputs) <= 0:
        return None
    x = np.array([0.0, *loads]) / loads[-1]
    y = np.array([0.0, *throughputs]) / max(throughputs)
    height = y - x
    mean_step = float(np.diff(x).mean())
    for at in range(1, len(height) - 1):
        if height[at] < max(height[at - 1], height[at + 1], LEAST_BEND):
            continue
        threshold = height[at] - SENSITIVITY * mean_step
        for later in height[at + 1 :]:
            if later > height[at]:
                break
            if later < threshold:
                return at - 1
    return None
