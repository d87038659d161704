"""A circuit breaker: what has failed a few times in a row is left alone for a while."""

from __future__ import annotations

from collections.abc import Callable


class Breaker:
    """Opens after ``failures`` in a row. Once it has rested, it lets one attempt through: that closes it, or has it rest for twice as
    long, at most for ``most`` seconds of ``clock``.
    """

    def __init__(self, clock: Callable[[], float], *, failures: int = 3, rest: float = 1.0, most: float = 30.0) -> None:
        self._clock = clock
        self._failures = failures
        self._first_rest = self._rest = rest
        self._most = most
        self._in_a_row = 0
        self._retry_at = 0.0
        self.is_open = False

    def allows(self) -> bool:
        """Whether to try now. While it is open, whoever is told so is the attempt, and must tell how it ended."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._retry_at:
            return False
        self._retry_at = now + self._rest
        return True

    def succeeded(self) -> bool:
        """An attempt went well; returns whether that has closed it."""
        was_open, self.is_open = self.is_open, False
        self._in_a_row, self._rest = 0, self._first_rest
        return was_open

    def failed(self) -> bool:
        """An attempt failed; returns whether that has opened it."""
        self._in_a_row += 1
        if self.is_open:
            self._rest = min(2 * self._rest, self._most)
            self._retry_at = self._clock() + self._rest
            return False
        if self._in_a_row < self._failures:
            return False
        self.is_open = True
        self._retry_at = self._clock() + self._rest
        return True
