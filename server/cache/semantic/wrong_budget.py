"""How many wrong answers may have been given again by now, from audits alone.

Of the requests that could be answered from the cache a fixed share is audited: answered by the model all the same and judged. A
wrong answer that would have been given is seen in an audit with probability ``a``, and given unseen with 1 - a. For any theta below
-log(1 - a) and c = -log((1 - (1 - a) exp(theta)) / a), exp(theta * given - c * seen) is a nonnegative martingale that starts at 1: each
wrong answer multiplies it by something of mean 1, each right one by 1. By Ville's inequality it never reaches 1 / alpha but with
probability alpha, so that at all times together

    given <= (c * seen + log(1 / alpha)) / theta

(the method of Howard et al., arXiv:1810.08240). Nothing is assumed of texts, similarities or the model that chooses, which may
be adversarial: only that who is audited is drawn apart from whether the answer is right, and that the judge is right.
"""

from __future__ import annotations

import math

# Each theta is best at one number of seen ones; all hold together at alpha divided by their number.
SHARES_OF_LIMIT = (0.15, 0.3, 0.5, 0.7)


class WrongBudget:
    """The bound on the wrong answers given, with probability 1 - ``alpha`` at all times. ``audit_share`` is above 0 and below 1."""

    def __init__(self, audit_share: float, alpha: float = 0.05) -> None:
        limit = -math.log1p(-audit_share)
        self._lines = []
        for share in SHARES_OF_LIMIT:
            theta = share * limit
            cost = -math.log((1 - (1 - audit_share) * math.exp(theta)) / audit_share)
            self._lines.append((cost / theta, math.log(len(SHARES_OF_LIMIT) / alpha) / theta))
        self.seen = 0

    def saw_wrong(self) -> None:
        """An audit has shown a wrong answer."""
        self.seen += 1

    def bound(self) -> float:
        """Wrong answers that may have been given by now."""
        return min(slope * self.seen + start for slope, start in self._lines)
