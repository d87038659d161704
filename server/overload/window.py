"""How many requests an engine is given that it has not begun to answer."""

from __future__ import annotations

# Requests that are to wait in the engine, at least and at most: one, so that a place in its batch never stays free for want
# of a request, and few more, for what waits there can neither be put behind better ones nor refused.
ALPHA = 1.0
BETA = 2.0
INITIAL = 16.0
LEAST = 2.0
MOST = 4096.0
# The window is looked at anew after as many starts as it has places, and after so many at the latest.
MOST_STARTS = 8


class Window:
    """TCP Vegas (Brakmo, O'Malley and Peterson, SIGCOMM 1994), as Netflix's "Performance Under Load" carries it over to servers.

    A connection's window holds what is sent and not acknowledged; this one what is submitted and not **started**. An answer's
    length so has no part in it: what an engine runs at a time its own scheduler knows best, and only the queue before that is
    to be kept short. Vegas reckons the packets that queue on the way, ``window * (1 - base time / actual time)``, and holds them
    between ``ALPHA`` and ``BETA``; the share of its time to start that a request has waited is the same quotient, told by
    ``StartTimes``. As in slow start the window doubles until something waits, and again whenever a line has come to its end.
    """

    def __init__(self, initial: float = INITIAL) -> None:
        self.size = initial
        self._is_probing = True
        self._was_full = False
        self._starts = 0
        self._waited = 0.0
        self._seconds = 0.0

    def full(self) -> None:
        """Somebody had to wait for a place; a window that nobody fills has no need to grow."""
        self._was_full = True

    def relaxed(self) -> None:
        """Nobody waits any more: what the engine can take is to be found out anew."""
        self._is_probing = True

    def started(self, waited: float, seconds: float) -> None:
        """A request was started ``seconds`` after it was submitted, ``waited`` of which it spent in a queue."""
        self._starts += 1
        self._waited += waited
        self._seconds += seconds
        if self._starts >= min(self.size, MOST_STARTS):
            self._adapt()

    def pushed_back(self) -> None:
        """The engine itself has refused a request, as a network drops a packet."""
        self._is_probing = False
        self._set(self.size / 2)

    def _adapt(self) -> None:
        queued = self.size * self._waited / self._seconds if self._seconds else 0.0
        if queued > ALPHA:
            self._is_probing = False
        if queued > BETA:
            self._set(self.size - max(1.0, (queued - BETA) / 2))
        elif queued < ALPHA and self._was_full:
            self._set(self.size + (self._starts if self._is_probing else 1.0))
        self._was_full = False
        self._starts = 0
        self._waited = self._seconds = 0.0

    def _set(self, size: float) -> None:
        self.size = min(max(size, LEAST), MOST)
