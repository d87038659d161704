"""One answer as its client saw it: when it was due, sent and read, how many tokens it had, or what went wrong."""

from __future__ import annotations

import msgspec


class BadAnswer(Exception):
    """A server's answer that can't be measured: an error, a broken stream, or another length than was asked for."""


class Sample(msgspec.Struct, kw_only=True, frozen=True):
    """One request of a load. Times are in seconds from the load's start.

    ``scheduled`` is when the load wanted it sent: its arrival time in an open loop, the end of the answer before it (and the
    think time after that) in a closed loop or a session. ``held`` is for how long the load's own limit on concurrency kept it
    back after that. ``arrivals`` are the times of the pieces of text and ``pieces`` the number of tokens in each;
    both are empty without streaming. ``cached_tokens`` is None where the server doesn't say. ``model`` answered, and ``cache`` is
    what a Pennyweight server's response cache did. ``text`` is kept on demand only.
    """

    index: int
    scheduled: float
    sent: float
    ended: float
    held: float = 0.0
    first: float | None = None
    arrivals: tuple[float, ...] = ()
    pieces: tuple[int, ...] = ()
    prompt_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int | None = None
    is_counted: bool = True  # the tokens, by the server's usage; otherwise a piece of text counts as one
    status: int | None = None
    error: str | None = None
    message: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    cache: str | None = None
    text: str | None = None

    @property
    def lag(self) -> float:
        """By how much the client itself was late to send."""
        return self.sent - self.scheduled - self.held

    @property
    def ttft(self) -> float | None:
        """Time to first token, from the sending."""
        return None if self.first is None else self.first - self.sent

    @property
    def ttft_scheduled(self) -> float | None:
        """Time to first token, from when the request was due: what a client's lag and limits hide from ``ttft``."""
        return None if self.first is None else self.first - self.scheduled

    @property
    def tpot(self) -> float | None:
        """Time per output token after the first; None where there is no second, or no stream."""
        if self.output_tokens < 2 or not self.arrivals:
            return None
        return (self.arrivals[-1] - self.arrivals[0]) / (self.output_tokens - 1)

    @property
    def e2e(self) -> float:
        """From the sending to the end of the answer."""
        return self.ended - self.sent

    def intervals(self) -> list[float]:
        """Inter-token latencies, one for each token after the first piece of text.

        A piece of n tokens that came a gap g after the one before it counts as n intervals of g / n each, so that a server
        that sends several tokens at once is not credited with intervals of zero, and their mean is that per token.
        """
        found: list[float] = []
        for before, now, tokens in zip(self.arrivals, self.arrivals[1:], self.pieces[1:], strict=False):
            found.extend([(now - before) / tokens] * tokens)
        return found
