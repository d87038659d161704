"""What a mode costs: the same load on the same server with it and without, and on the fastest other kernels, in turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from statistics import median

import aiohttp
import msgspec

from pennyweight.bench.peers.process import running
from pennyweight.bench.peers.session import session_of

from .measure import ask, completion_body
from .variant import Variant


class Way(msgspec.Struct, frozen=True):
    """A mode asked of one server's requests."""

    kernels: str
    mode: str

    @property
    def label(self) -> str:
        return self.mode if self.kernels == "own" else f"{self.mode}, {self.kernels}"


WAYS = (Way("own", "bitwise"), Way("own", "off"), Way("torch", "off"))
# A way that has less than this of the first way's speed while it warms up isn't the fastest, and would take all of the time.
SLOWEST = 0.25
# Threads of the way before may spin for a while when their work is done, as OpenMP's do.
REST_SECONDS = 1.0


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens per second of each round: ``alone`` with one stream, ``together`` with many. A way that was too slow while it warmed up
    has no rounds.
    """

    way: Way
    warm_up: float
    alone: list[float]
    together: list[float]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What ``bitwise`` loses of the fastest way's speed (median of the rounds' ratios, at least 0 where it is the fastest itself), and which that was."""

    alone: float
    together: float
    fastest_alone: str
    fastest_together: str


class CostPlan(msgspec.Struct, frozen=True, kw_only=True):
    """``rounds`` in each of which every way is measured once, alone with ``alone_tokens`` and with ``streams`` of ``tokens``."""

    prompt: str
    streams: int
    tokens: int
    alone_tokens: int
    rounds: int


async def measure_cost(base: Variant, plan: CostPlan, say: Callable[[str], None]) -> list[Speed]:
    """The speeds of all ways, whose servers run side by side while one at a time has work. Raises PeerFailed."""
    async with AsyncExitStack() as opened:
        sessions = {}
        for kernels in dict.fromkeys(way.kernels for way in WAYS):
            server = await opened.enter_async_context(running(msgspec.structs.replace(base, kernels=kernels).serve))
            sessions[kernels] = await opened.enter_async_context(session_of(server.url))
        speeds = {}
        for way in WAYS:  # what is slower once
            warm = await _tokens_per_second(sessions[way.kernels], way, plan, min(4, plan.streams), 8, "warm")
            speeds[way] = Speed(way=way, warm_up=warm, alone=[], together=[])
        ways = [way for way in WAYS if speeds[way].warm_up >= SLOWEST * speeds[WAYS[0]].warm_up]
        for way in speeds.keys() - ways:
            say(f"{way.label}: {speeds[way].warm_up:.1f} tokens/s while warming up, too slow to be measured further")
        for number in range(plan.rounds):
            for way in order(ways, number):
                await asyncio.sleep(REST_SECONDS)
                session = sessions[way.kernels]
                alone = await _tokens_per_second(session, way, plan, 1, plan.alone_tokens, f"{number} alone")
                together = await _tokens_per_second(session, way, plan, plan.streams, plan.tokens, f"{number}")
                speeds[way].alone.append(alone)
                speeds[way].together.append(together)
                say(f"round {number + 1}: {way.label}: {alone:.1f} tokens/s alone, {together:.1f} with {plan.streams}")
    return list(speeds.values())


def order(ways: Sequence[Way], number: int) -> list[Way]:
    """Of a round: each way begins as often as the others, and comes as often before another as after it."""
    first = number // 2 % len(ways)
    turned = [*ways[first:], *ways[:first]]
    return turned if number % 2 == 0 else turned[::-1]


def cost_of(speeds: Sequence[Speed]) -> Cost:
    """Of the first way, against the fastest of all by its median."""

    def against(name: str) -> tuple[float, str]:
        found = {one.way.label: getattr(one, name) for one in speeds if one.alone}
        fastest = max(found, key=lambda label: median(found[label]))
        ours = getattr(speeds[0], name)
        return 1 - median(mine / best for mine, best in zip(ours, found[fastest], strict=True)), fastest

    (alone, fastest_alone), (together, fastest_together) = against("alone"), against("together")
    return Cost(alone=alone, together=together, fastest_alone=fastest_alone, fastest_together=fastest_together)


async def _tokens_per_second(
    session: aiohttp.ClientSession, way: Way, plan: CostPlan, streams: int, tokens: int, label: str
) -> float:
    """Prompts differ at their beginning, of each way too, so that nobody's is in the prefix cache."""
    bodies = [
        completion_body(f"{way.label} {label} {number}: {plan.prompt}", tokens) | {"deterministic": way.mode}
        for number in range(streams)
    ]
    started = time.perf_counter()
    await asyncio.gather(*(ask(session, body) for body in bodies))
    return streams * tokens / (time.perf_counter() - started)
