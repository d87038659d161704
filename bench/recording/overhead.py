"""What recording takes of a server's throughput: the same load on one that records and on one that doesn't, in turns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from pennyweight.bench.peers.process import running
from pennyweight.bench.peers.session import session_of
from pennyweight.bench.process_cpu import cpu_seconds
from pennyweight.bench.stage_progress import Tell

from .load import Load, Told, bodies
from .served import Served

Prompts = Sequence[Sequence[dict[str, Any]]]


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """The same requests on both. ``cpu`` is the server's, in seconds a token; ``unacknowledged`` answers said that their record wasn't
    written in time."""

    tokens_per_second: float
    cpu: float
    recording_tokens_per_second: float
    recording_cpu: float
    requests: int
    unacknowledged: int


class Overhead(msgspec.Struct, frozen=True, kw_only=True):
    """Medians over the rounds: the share of throughput that recording takes (less than 0 where chance has it faster), with its least and
    its greatest, and the share of CPU time that it adds."""

    throughput: float
    low: float
    high: float
    cpu: float


async def measure_overhead(
    served: Served,
    directory: Path,
    prompts: Prompts,
    *,
    rounds: int,
    requests: int,
    tokens: int,
    streams: int,
    tell: Tell,
) -> list[Round]:
    """``rounds`` of ``requests`` answers of ``tokens`` on either server. Raises PeerFailed."""
    found: list[Round] = []
    async with AsyncExitStack() as opened:
        servers, sessions = [], []
        for where in (None, directory):
            server = await opened.enter_async_context(running(served.serve(where)))
            servers.append(server)
            sessions.append(await opened.enter_async_context(session_of(server.url)))

        async def once(place: int, number: int, count: int) -> tuple[float, float, int]:
            first = number * count % len(prompts)
            asked = bodies([*prompts[first:], *prompts[:first]], count, tokens)
            load = Load(sessions[place], asked, streams, lambda: None)
            cpu, started = cpu_seconds(servers[place].pid), time.perf_counter()
            await load.run()
            seconds = time.perf_counter() - started
            made = sum(one.tokens for one in load.answered)
            unacknowledged = sum(one.told is not Told.RECORDED for one in load.answered)
            return made / seconds, (cpu_seconds(servers[place].pid) - cpu) / made, unacknowledged

        for place in (0, 1):  # what is slower once
            await once(place, rounds, streams)
        for number in range(rounds):
            order = (0, 1) if number % 2 == 0 else (1, 0)
            said = {place: await once(place, number, requests) for place in order}
            found.append(
                Round(
                    tokens_per_second=said[0][0],
                    cpu=said[0][1],
                    recording_tokens_per_second=said[1][0],
                    recording_cpu=said[1][1],
                    requests=requests,
                    unacknowledged=said[1][2],
                )
            )
            tell("overhead", number + 1, rounds)
    return found


def overhead_of(rounds: Sequence[Round]) -> Overhead:
    """Of at least one round."""
    lost = [1 - one.recording_tokens_per_second / one.tokens_per_second for one in rounds]
    return Overhead(
        throughput=median(lost),
        low=min(lost),
        high=max(lost),
        cpu=median(one.recording_cpu / one.cpu - 1 for one in rounds),
    )
