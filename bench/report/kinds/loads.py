"""What results say of a server under load, as far as reports read it.

These are a reader's forms of bench/load's: everything may be missing, so that results of record outlive the code that wrote them.
Seconds, tokens, and each per second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec

from pennyweight.bench.report.charts import Interval


class Distribution(msgspec.Struct, frozen=True):
    """Percentiles of a measure over requests or tokens, and 95 % intervals of two of them."""

    count: int = 0
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p999: float | None = None
    max: float | None = None
    p50_interval: Interval | None = None
    p99_interval: Interval | None = None


class Summary(msgspec.Struct, frozen=True):
    """One load's outcome."""

    requests: int = 0
    completed: int = 0
    failed: int = 0
    errors: dict[str, int] = {}
    duration: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    request_throughput: float | None = None
    input_throughput: float | None = None
    output_throughput: float | None = None
    total_throughput: float | None = None
    goodput: float | None = None
    slo_attainment: float | None = None
    ttft: Distribution | None = None
    ttft_scheduled: Distribution | None = None
    tpot: Distribution | None = None
    itl: Distribution | None = None
    e2e: Distribution | None = None
    lag: Distribution | None = None


class Load(msgspec.Struct, frozen=True):
    """What was asked of the server: so many requests a second (open loop), or so many at once (closed loop)."""

    mode: str = "open"
    rate: float | None = None
    arrivals: str | None = None
    concurrency: int | None = None

    @property
    def size(self) -> float | None:
        """Its place on the axis of loads."""
        return self.rate if self.rate is not None else self.concurrency

    def __str__(self) -> str:
        if self.rate is not None:
            return f"{self.rate:.3g} requests/s"
        if self.concurrency is not None:
            return f"{self.concurrency} at once"
        return "as fast as possible" if self.mode == "open" else self.mode


class Point(msgspec.Struct, frozen=True):
    """One load and its outcome."""

    load: Load = Load()
    summary: Summary = Summary()
    complaints: tuple[str, ...] = ()


def axis_label(loads: Sequence[Load]) -> str:
    """The label of an axis of these loads."""
    return "requests/s asked for" if all(load.rate is not None for load in loads) else "requests at once"


class HasLoad(Protocol):
    """A point of a sweep."""

    @property
    def load(self) -> Load: ...


P = TypeVar("P", bound=HasLoad)


def comparable(points: Sequence[P]) -> list[P]:
    """The points that one axis can have, the smallest load first: rates, or numbers of clients, whichever are more.

    A sweep over rates often begins with a closed loop, which finds the capacity.
    """
    rates = [one for one in points if one.load.rate is not None]
    clients = [one for one in points if one.load.rate is None and one.load.concurrency is not None]
    more = rates if len(rates) >= len(clients) else clients
    return sorted(more, key=lambda one: one.load.size or 0)


def percentile(distribution: Distribution | None, name: str) -> float | None:
    """A value of a distribution that may be missing."""
    found: float | None = getattr(distribution, name) if distribution is not None else None
    return found
