"""How far a load has come."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec


class Progress(msgspec.Struct, frozen=True, tag=True):
    """Requests so far. ``events`` are those of all streams, about one for each token; ``ttft_p50`` is in seconds and of the
    last answers only. ``elapsed`` is in seconds from the load's start.
    """

    sent: int
    done: int
    failed: int
    events: int
    ttft_p50: float | None
    planned: int = 0
    elapsed: float = 0.0

    @property
    def running(self) -> int:
        return self.sent - self.done


def combined(parts: Sequence[Progress], planned: int, elapsed: float) -> Progress:
    """The progress of several clients; their TTFT is the mean of their medians."""
    medians = [part.ttft_p50 for part in parts if part.ttft_p50 is not None]
    return Progress(
        sent=sum(part.sent for part in parts),
        done=sum(part.done for part in parts),
        failed=sum(part.failed for part in parts),
        events=sum(part.events for part in parts),
        ttft_p50=sum(medians) / len(medians) if medians else None,
        planned=planned,
        elapsed=elapsed,
    )


OnProgress = Callable[[Progress], None]
