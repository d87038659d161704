"""How quickly a line gets shorter, measured while there is one."""

from __future__ import annotations

WEIGHT = 1 / 32


class Drain:
    """The mean time between two requests that leave the line's head for the engine. Times are in seconds of one clock.

    Only what is taken while others wait counts: at other times the engine could take more than come.
    """

    def __init__(self) -> None:
        self._interval: float | None = None
        self._last: float | None = None

    def began(self, now: float) -> None:
        """A line has formed."""
        self._last = now

    def ended(self) -> None:
        """Nobody waits any more."""
        self._last = None

    def took(self, now: float) -> None:
        """One was taken from the line."""
        if self._last is not None:
            interval = now - self._last
            self._interval = (
                interval if self._interval is None else self._interval + WEIGHT * (interval - self._interval)
            )
            self._last = now

    def seconds(self, count: int, now: float) -> float | None:
        """What it will take until so many more are taken; None as long as nothing was ever measured.

        An engine that has stopped is known by the time since it last took one.
        """
        since = now - self._last if self._last is not None else 0.0
        if self._interval is None:
            return None
        return max(self._interval * count, since)
