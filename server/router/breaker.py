"""The switch that spares a model that fails, and its clients the wait."""

from __future__ import annotations

import enum
from collections.abc import Callable

from pennyweight.server.errors import InvalidRequest, NotCached, Overloaded, PennyweightError, PermissionDenied

# The rest after a probe that failed is twice the last one, but no longer than so many times the first.
MOST_RESETS = 32


class BreakerState(enum.StrEnum):
    """Closed lets all requests through, open none, half-open one at a time to see."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Permit:
    """A request's leave to try the model; exactly one of its three ends counts, the first."""

    __slots__ = ("_breaker", "_is_over", "_is_probe")

    def __init__(self, breaker: CircuitBreaker, *, is_probe: bool) -> None:
        self._breaker = breaker
        self._is_probe = is_probe
        self._is_over = False

    def succeeded(self) -> None:
        """The model answered."""
        if self._end():
            self._breaker._succeeded(is_probe=self._is_probe)

    def failed(self, error: PennyweightError) -> None:
        """It did not. An error that is the request's own says nothing of the model."""
        if self._end():
            self._breaker._failed(error, is_probe=self._is_probe)

    def release(self) -> None:
        """Nothing was learned: the client left, or the model was not asked."""
        if self._end():
            self._breaker._released(is_probe=self._is_probe)

    def _end(self) -> bool:
        was_open, self._is_over = not self._is_over, True
        return was_open


class CircuitBreaker:
    """Opens at ``failures_to_open`` failures in a row; after ``reset_seconds`` of ``clock`` one request at a time may try again, and the first
    that succeeds closes it. A model that says that it is busy (Overloaded) is left alone for as long as it asks for, and has not failed.
    """

    def __init__(self, failures_to_open: int, reset_seconds: float, clock: Callable[[], float]) -> None:
        self._failures_to_open = failures_to_open
        self._reset_seconds = reset_seconds
        self._clock = clock
        self._failures = 0
        self._rest = reset_seconds
        self._open_until: float | None = None
        self._busy_until = 0.0
        self._is_probed = False
        self.openings = 0

    @property
    def state(self) -> BreakerState:
        """Where it stands now."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._clock() < self._open_until else BreakerState.HALF_OPEN

    def permit(self) -> Permit | None:
        """Leave to try the model, to be ended; None where it is to be left alone."""
        if self._clock() < self._busy_until:
            return None
        match self.state:
            case BreakerState.CLOSED:
                return Permit(self, is_probe=False)
            case BreakerState.HALF_OPEN if not self._is_probed:
                self._is_probed = True
                return Permit(self, is_probe=True)
        return None

    def _succeeded(self, *, is_probe: bool) -> None:
        if is_probe:
            self._is_probed = False
            self._open_until = None
            self._rest = self._reset_seconds
        if self._open_until is None:
            self._failures = 0

    def _failed(self, error: PennyweightError, *, is_probe: bool) -> None:
        if isinstance(error, InvalidRequest | PermissionDenied | NotCached):
            self._released(is_probe=is_probe)
            return
        if isinstance(error, Overloaded):
            self._busy_until = self._clock() + (error.retry_after or 0.0)
            self._released(is_probe=is_probe)
            return
        if is_probe:
            self._is_probed = False
            self._rest = min(self._rest * 2, self._reset_seconds * MOST_RESETS)
            self._open()
            return
        self._failures += 1
        if self._failures >= self._failures_to_open and self._open_until is None:
            self._open()

    def _released(self, *, is_probe: bool) -> None:
        if is_probe:
            self._is_probed = False

    def _open(self) -> None:
        self._open_until = self._clock() + self._rest
        self._failures = 0
        self.openings += 1
