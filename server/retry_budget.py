"""How often something may be tried again, so that retries don't multiply the load on what is down."""

from __future__ import annotations

RESERVE = 10.0


class RetryBudget:
    """Each request adds ``share`` of a retry, each retry takes one. At most ``reserve`` are saved up, as many at first.

    So N requests in a row, whenever they begin, make at most ``reserve + share * N`` retries. ``taken`` counts those that were
    made, ``refused`` those that were not.
    """

    def __init__(self, share: float, *, reserve: float = RESERVE) -> None:
        self._share = share
        self._reserve = reserve
        self._balance = reserve
        self.taken = 0
        self.refused = 0

    @property
    def balance(self) -> float:
        """How many retries there are left."""
        return self._balance

    def request(self) -> None:
        """A request has come."""
        self._balance = min(self._balance + self._share, self._reserve)

    def take(self) -> bool:
        """Take one retry; False where there is none left."""
        # Ten tenths are one, whatever their floating-point sum.
        if self._balance < 1.0 - 1e-9:
            self.refused += 1
            return False
        self._balance -= 1.0
        self.taken += 1
        return True
