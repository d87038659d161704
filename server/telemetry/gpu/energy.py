"""Joules from watts, for devices that count no energy themselves."""

from __future__ import annotations


class PowerIntegral:
    """The energy since the first reading, by the trapezoidal rule over readings of the power."""

    def __init__(self) -> None:
        self._joules = 0.0
        self._last: tuple[float, float] | None = None

    def add(self, time: float, watts: float | None) -> float | None:
        """The joules up to ``time`` (seconds); None as long as no power is known. A reading that is missing is bridged."""
        if watts is not None:
            if self._last is not None:
                before, power = self._last
                self._joules += (time - before) * (power + watts) / 2
            self._last = time, watts
        return None if self._last is None else self._joules
