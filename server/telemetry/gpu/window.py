"""Rates over the last while, from counters that are looked at now and then."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping


class RateWindow:
    """What counters have grown by a second, between the newest look and the oldest one within ``seconds``.

    A counter that is lower than at the look before began anew; what it had before that is forgotten.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._looks: deque[tuple[float, Mapping[str, float]]] = deque()

    def add(self, time: float, counters: Mapping[str, float]) -> None:
        """Counters as they are at ``time`` (seconds)."""
        if self._looks and any(counters.get(name, 0.0) < value for name, value in self._looks[-1][1].items()):
            self._looks.clear()
        self._looks.append((time, counters))
        while time - self._looks[0][0] > self._seconds and len(self._looks) > 2:
            self._looks.popleft()

    def rates(self) -> dict[str, float]:
        """By counter; empty before there are two looks."""
        if len(self._looks) < 2:
            return {}
        (began, before), (ended, after) = self._looks[0], self._looks[-1]
        return (
            {name: (after[name] - before.get(name, 0.0)) / (ended - began) for name in after} if ended > began else {}
        )
