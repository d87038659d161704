"""Whether it is proven, and not only estimated, that few enough of the answers above some odds are wrong."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

# The shares of wrong answers that are tried as the true one, as parts of the share that is tested: for few judged ones and for many.
ALTERNATIVES = (0.05, 0.2, 0.5, 0.8)


def log_evidence(
    right: npt.NDArray[np.float64], wrong: npt.NDArray[np.float64], share: float
) -> npt.NDArray[np.float64]:
    """The natural logarithm of the evidence against "at least ``share`` are wrong" from so many judged ones, elementwise.

    A mixture of likelihood ratios, which is a nonnegative supermartingale under that hypothesis: by Ville's inequality it ever reaches
    1 / alpha with probability alpha at most, however often it is looked at (Wald's sequential test with a mixture; Robbins 1970).
    """
    ratios = [right * math.log((1 - part * share) / (1 - share)) + wrong * math.log(part) for part in ALTERNATIVES]
    mixed: npt.NDArray[np.float64] = np.logaddexp.reduce(ratios, axis=0)
    return mixed - math.log(len(ALTERNATIVES))
