"""Rounds over all servers, interleaved, and the rows that their medians make."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from rich.console import Console

from pennyweight.bench.load.sample import BadAnswer
from pennyweight.bench.peers.base import PeerFailed
from pennyweight.bench.peers.process import RunningServer, running

from .cores import Cores, started_on
from .measure import Measurement, Plan, measure
from .targets import Target, Upstream


@dataclass(frozen=True)
class Row:
    """One server at one number of connections: medians over the rounds. None is what could not be measured of it.

    ``requests_per_second`` are on one core, where the server had nothing left of it (``is_saturated``); else the load was
    the slower of the two. ``added_p50`` and ``added_p99`` are in seconds, to the same load on the upstream alone.
    """

    server: str
    version: str
    connections: int
    requests_per_second: float | None
    cpu_us_per_request: float
    cpu_us_per_streamed_token: float
    cpu_us_per_ready_token: float
    streamed_tokens_per_second: float | None
    added_p50: float | None
    added_p99: float | None
    is_saturated: bool


async def run_rounds(
    targets: Sequence[Target],
    upstream: Upstream,
    upstream_port: int,
    plan: Plan,
    cores: Cores,
    connections: Sequence[int],
    rounds: int,
    progress: Console,
) -> tuple[list[Measurement], list[str]]:
    """Measure every server once a round, each round beginning with another one; and what went wrong.

    The upstream is always there, and at the beginning of each round measured without anything before it.
    """
    found: list[Measurement] = []
    complaints: list[str] = []
    async with AsyncExitStack() as stack:
        with started_on(cores.upstream):
            behind = await stack.enter_async_context(running(upstream, port=upstream_port))
        for number in range(rounds):
            for count in connections:
                found.append(await measure(Target(upstream), behind, plan, cores, count))
            first = number % len(targets) if targets else 0
            for target in (*targets[first:], *targets[:first]):
                progress.print(
                    f"{datetime.now():%H:%M:%S} round {number + 1} of {rounds}: {target.label}", highlight=False
                )
                try:
                    # What it gave before it failed counts.
                    async for one in _measurements(target, plan, cores, connections):
                        found.append(one)
                except (PeerFailed, BadAnswer) as error:
                    reason = error.reason if isinstance(error, PeerFailed) else str(error)
                    complaints.append(f"{target.label}: {reason}")
                    progress.print(f"failed: {error}", markup=False, highlight=False, soft_wrap=True)
    return found, complaints


async def _measurements(
    target: Target, plan: Plan, cores: Cores, connections: Sequence[int]
) -> AsyncGenerator[Measurement]:
    async with AsyncExitStack() as stack:
        with started_on(cores.server):
            server: RunningServer = await stack.enter_async_context(running(target.peer))
        for count in connections:
            yield await measure(target, server, plan, cores, count)


def make_rows(targets: Sequence[Target], upstream: Upstream, found: Sequence[Measurement]) -> list[Row]:
    """Medians of every server at every number of connections, in the order of ``targets``."""
    alone = Target(upstream)
    rows = []
    for target in (*targets, alone):
        for connections in sorted({one.connections for one in found}):
            of_it = [one for one in found if (one.target, one.connections) == (target.label, connections)]
            floor = [one for one in found if (one.target, one.connections) == (alone.label, connections)]
            if of_it:
                rows.append(_row(target, connections, of_it, floor))
    return rows


# Of a core: the rest is what a server waits for the load to come around.
SATURATED = 0.9


def _row(target: Target, connections: int, found: Sequence[Measurement], floor: Sequence[Measurement]) -> Row:
    is_idle = target.is_idle_engine
    added_p50 = median(one.latency_p50 for one in found) - median(one.latency_p50 for one in floor)
    added_p99 = median(one.latency_p99 for one in found) - median(one.latency_p99 for one in floor)
    return Row(
        server=target.label,
        version=target.peer.version(),
        connections=connections,
        requests_per_second=median(one.requests_per_second for one in found) if is_idle else None,
        cpu_us_per_request=median(one.cpu_us_per_request for one in found),
        cpu_us_per_streamed_token=median(one.cpu_us_per_streamed_token for one in found),
        cpu_us_per_ready_token=median(one.cpu_us_per_ready_token for one in found),
        streamed_tokens_per_second=median(one.tokens_per_second for one in found) if is_idle else None,
        added_p50=added_p50 if is_idle else None,
        added_p99=added_p99 if is_idle else None,
        is_saturated=is_idle and median(one.server_share for one in found) >= SATURATED,
    )
