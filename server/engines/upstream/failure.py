"""What went wrong with one try at an upstream, and what follows from it."""

from __future__ import annotations

from pennyweight.server.errors import PennyweightError, UpstreamFailed


class Failure(Exception):
    """One try has failed. ``error`` is what the client is told if there is no other.

    ``is_retryable`` where the same request may well succeed a moment later, ``retry_after`` seconds at the least if the
    upstream said so. ``is_fault`` where it tells against the upstream's health; ``reason`` is what is then said of it to
    everybody: no word of the upstream's own, which may be about the request.
    """

    def __init__(
        self,
        error: PennyweightError,
        *,
        is_retryable: bool = False,
        is_fault: bool = False,
        retry_after: float | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.is_retryable = is_retryable
        self.is_fault = is_fault
        self.retry_after = retry_after
        self.reason = error.message if reason is None else reason


def broken(message: str, *, reason: str | None = None) -> Failure:
    """The failure of an upstream whose answer is cut off or makes no sense."""
    return Failure(UpstreamFailed(message), is_retryable=True, is_fault=True, reason=reason)
