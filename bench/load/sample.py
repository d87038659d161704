"""One streamed answer as its client saw it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


class BadAnswer(Exception):
    """A server's answer that can't be measured: an error, a broken stream, or another length than was asked for."""


@dataclass(frozen=True)
class Sample:
    """When one request was sent and its text arrived, in seconds of one monotonic clock, and how many tokens it had."""

    sent: float
    arrivals: tuple[float, ...]  # of each piece of text; a server may put several tokens into one
    ended: float
    prompt_tokens: int
    output_tokens: int

    @property
    def ttft(self) -> float:
        """Time to first token."""
        return self.arrivals[0] - self.sent

    @property
    def tpot(self) -> float | None:
        """Time per output token after the first; None where there is no second."""
        if self.output_tokens < 2:
            return None
        return (self.arrivals[-1] - self.arrivals[0]) / (self.output_tokens - 1)


def read_sample(sent: float, reads: Sequence[tuple[float, bytes]], ended: float) -> Sample:
    """The sample of a completion stream from what was read when.

    It is parsed after the load has ended, so that the client takes as little as it can of the processors that the
    server computes on. Raises BadAnswer.
    """
    arrivals: list[float] = []
    usage: dict[str, Any] | None = None
    is_done = False
    for time, data in _events(reads):
        if data == b"[DONE]":
            is_done = True
            continue
        try:
            event = json.loads(data)
        except ValueError as error:
            raise BadAnswer(f"an event is no JSON: {data[:200]!r}") from error
        if "error" in event:
            raise BadAnswer(f"an error in the stream: {event['error']}")
        if any(choice.get("text") for choice in event.get("choices", ())):
            arrivals.append(time)
        usage = event.get("usage") or usage
    if not (is_done and usage and arrivals):
        raise BadAnswer(f"an unfinished stream: {len(arrivals)} pieces of text, usage {usage}, [DONE] {is_done}")
    return Sample(sent, tuple(arrivals), ended, usage["prompt_tokens"], usage["completion_tokens"])


def _events(reads: Sequence[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """Each event's data with the time of the read that completed its line."""
    rest = b""
    for time, chunk in reads:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield time, line.removeprefix(b"data:").strip()
