"""Whether and when a try that failed is made again."""

from __future__ import annotations

import random
from collections.abc import Callable

from pennyweight.server.retry_budget import RetryBudget

from .failure import Failure

FIRST_DELAY = 0.25
LONGEST_DELAY = 8.0


class RetryPolicy:
    """At most ``max_retries`` for each request, within the budget of all; delays double and are scattered by half.

    A ``Retry-After`` is waited for, but one of more than ``max_retry_after`` seconds is the client's to wait for.
    """

    def __init__(
        self,
        budget: RetryBudget,
        *,
        max_retries: int,
        max_retry_after: float,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._budget = budget
        self._max_retries = max_retries
        self._max_retry_after = max_retry_after
        self._jitter = jitter

    def request(self) -> None:
        """A request has come."""
        self._budget.request()

    def delay(self, failure: Failure, num_retries: int) -> float | None:
        """Seconds to wait before the next try, of which there were ``num_retries`` already; None for no more tries."""
        asked_for = failure.retry_after or 0.0
        if not failure.is_retryable or num_retries >= self._max_retries or asked_for > self._max_retry_after:
            return None
        if not self._budget.take():
            return None
        return asked_for + self._jitter(0.5, 1.0) * min(FIRST_DELAY * 2.0**num_retries, LONGEST_DELAY)
