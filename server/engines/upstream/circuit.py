"""The switch that spares an upstream that is down, and its clients the wait."""

from __future__ import annotations


class Circuit:
    """Opens at ``failures_to_open`` failures in a row, and stays open until it is closed: the upstream was asked.

    ``reason`` is why it failed last. It is told to everybody, and so must have nothing of any request in it.
    """

    def __init__(self, failures_to_open: int) -> None:
        self._failures_to_open = failures_to_open
        self._failures = 0
        self.reason = ""

    @property
    def is_open(self) -> bool:
        """Whether the upstream is to be left alone."""
        return self._failures >= self._failures_to_open

    def failed(self, reason: str) -> None:
        """The upstream has failed, and why."""
        self._failures += 1
        self.reason = reason

    def succeeded(self) -> None:
        """The upstream has answered a request, which may be one from before the circuit opened."""
        if not self.is_open:
            self._failures = 0

    def close(self) -> None:
        """The upstream was asked whether it is there, and is."""
        self._failures = 0
