"""The switch that spares a model that fails, and its clients the wait (the circuit breaker of Nygard's Release It!)."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from types import TracebackType

from pennyweight.server.errors import (
    ModelLoading,
    NotCached,
    Overloaded,
    PennyweightError,
    ShuttingDown,
)


class BreakerState(enum.StrEnum):
    """Closed lets all requests through, open none, half-open one at a time to see."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Verdict(enum.StrEnum):
    """What an error says of the model: that it failed, that it has too much to do, or nothing."""

    FAILURE = "failure"
    BUSY = "busy"
    NEUTRAL = "neutral"


def verdict(error: PennyweightError) -> Verdict:
    """Failures are the server's own faults (5xx): EngineDead, EngineFailed, UpstreamFailed, UpstreamTimeout, ModelUnavailable and their kin.

    A model that is full or still loading is busy. What is wrong with the request, its key or its time (4xx), and the end of this
    server, says nothing.
    """
    if isinstance(error, Overloaded | ModelLoading):
        return Verdict.BUSY
    if isinstance(error, ShuttingDown | NotCached) or error.status < 500:
        return Verdict.NEUTRAL
    return Verdict.FAILURE


class Permit:
    """A request's leave to try the model; the first of its three ends counts, the others do nothing.

    As a block it ends as the block does: an error counts as ``failed``, any exception that is no PennyweightError and is an
    Exception as a failure too, and a block that was cancelled or told nothing as ``release``.
    """

    __slots__ = ("_breaker", "_era", "_is_over")

    def __init__(self, breaker: CircuitBreaker, era: int) -> None:
        self._breaker = breaker
        self._era = era
        self._is_over = False

    def succeeded(self) -> None:
        """The model answered."""
        if self._end():
            self._breaker._succeeded(self._era)

    def failed(self, error: PennyweightError) -> None:
        """It did not. What that says of the model is for ``verdict``."""
        if not self._end():
            return
        match verdict(error):
            case Verdict.FAILURE:
                self._breaker._failed(self._era)
            case Verdict.BUSY:
                self._breaker._busy(self._era, error.retry_after)
            case Verdict.NEUTRAL:
                self._breaker._released(self._era)

    def release(self) -> None:
        """Nothing was learned: the client left, or the model was not asked."""
        if self._end():
            self._breaker._released(self._era)

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, PennyweightError):
            self.failed(error)
        elif isinstance(error, Exception) and self._end():
            self._breaker._failed(self._era)
        self.release()

    def _end(self) -> bool:
        was_open, self._is_over = not self._is_over, True
        return was_open


class CircuitBreaker:
    """Opens at ``failures_to_open`` failures in a row. After ``reset_seconds`` of ``clock`` one request at a time may try again: the first
    that succeeds closes it, one that fails opens it for twice as long as the last time, ``max_reset_seconds`` at most.

    A busy model is left alone until the time that it gave, in whatever state, ``max_rest_seconds`` at most; it has not failed.
    A probe that ends without a word makes room for the next at once, one that never ends after ``probe_seconds``. What a
    permit of an earlier state tells counts no more. Counters: ``openings``, ``probes``, ``refusals`` (permits that were not given),
    ``rests``. All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        failures_to_open: int,
        reset_seconds: float,
        clock: Callable[[], float],
        *,
        max_reset_seconds: float = 320.0,
        max_rest_seconds: float = 120.0,
        probe_seconds: float = 300.0,
    ) -> None:
        self._failures_to_open = failures_to_open
        self._reset_seconds = reset_seconds
        self._max_reset_seconds = max(max_reset_seconds, reset_seconds)
        self._max_rest_seconds = max_rest_seconds
        self._probe_seconds = probe_seconds
        self._clock = clock
        self._failures = 0
        self._delay = reset_seconds
        self._open_until: float | None = None
        self._rests_until = -math.inf
        self._probe_began: float | None = None
        # Of the state and the probe; each that is left behind makes what its permits tell worthless.
        self._era = 0
        self.openings = 0
        self.probes = 0
        self.refusals = 0
        self.rests = 0

    @property
    def state(self) -> BreakerState:
        """Where it stands now."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._clock() < self._open_until else BreakerState.HALF_OPEN

    @property
    def retry_after(self) -> float:
        """Seconds until a permit may be had again; 0 where it may be now, or as soon as the probe under way has ended."""
        until = max(self._rests_until, self._open_until or -math.inf)
        return max(until - self._clock(), 0.0)

    def permit(self) -> Permit | None:
        """Leave to try the model, to be ended; None where it is to be left alone."""
        now = self._clock()
        if now >= self._rests_until:
            if self._open_until is None:
                return Permit(self, self._era)
            is_probed = self._probe_began is not None and now < self._probe_began + self._probe_seconds
            if now >= self._open_until and not is_probed:
                self._probe_began = now
                self._era += 1
                self.probes += 1
                return Permit(self, self._era)
        self.refusals += 1
        return None

    def _succeeded(self, era: int) -> None:
        if era != self._era:
            return
        self._failures = 0
        if self._open_until is not None:
            self._open_until = self._probe_began = None
            self._delay = self._reset_seconds
            self._era += 1

    def _failed(self, era: int) -> None:
        if era != self._era:
            return
        if self._open_until is not None:
            self._delay = min(self._delay * 2.0, self._max_reset_seconds)
        else:
            self._failures += 1
            if self._failures < self._failures_to_open:
                return
        self._failures = 0
        self._open_until = self._clock() + self._delay
        self._probe_began = None
        self._era += 1
        self.openings += 1

    def _busy(self, era: int, retry_after: float | None) -> None:
        # Also of an earlier state: it is the newest word on when it may be asked again.
        if retry_after is not None and retry_after > 0.0:
            self._rests_until = max(self._rests_until, self._clock() + min(retry_after, self._max_rest_seconds))
            self.rests += 1
        self._released(era)

    def _released(self, era: int) -> None:
        if era == self._era:
            self._probe_began = None
