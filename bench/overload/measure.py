"""Loads from half to many times what a server can do, on each of its configurations in turn."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import msgspec
import psutil

from pennyweight.bench.load.complaints import complaints
from pennyweight.bench.load.distribution import Distribution, distribution
from pennyweight.bench.load.endpoint import Endpoint, find_endpoint
from pennyweight.bench.load.lengths import parse_lengths
from pennyweight.bench.load.mode import ClosedLoop, OpenLoop
from pennyweight.bench.load.raw import samples_path, write_samples
from pennyweight.bench.load.run import Load, drive
from pennyweight.bench.load.slo import Slo
from pennyweight.bench.load.summary import Summary, summarise
from pennyweight.bench.load.synthetic import SyntheticWorkload
from pennyweight.bench.load.view import View
from pennyweight.bench.load.vocabulary import Vocabulary, ask_vocabulary
from pennyweight.bench.peers.base import Peer
from pennyweight.bench.peers.process import running

from .configurations import WITHOUT
from .memory_watch import MemoryWatch

# Of a closed loop before anything is measured; so few wait nowhere.
WARM_CLIENTS = 8
REFUSALS = ("http_429", "http_5xx")
# Token ids for an engine that reads none of them.
NO_VOCABULARY = Vocabulary(dict.fromkeys(range(1000), " word"))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured: ``shares`` of the capacity, each for ``seconds`` and ``rounds`` times, of which the first ``warmup`` don't
    count. The capacity is what a closed loop of ``clients`` gets; an open loop's client gives up after ``patience`` seconds.
    """

    shares: Sequence[float]
    seconds: float
    warmup: float
    rounds: int
    clients: int
    capacity_seconds: float
    input_tokens: str
    output_tokens: str
    slo: Slo
    patience: float
    processes: int
    seed: int


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One load on one configuration. ``refusals`` is how long they took (seconds), ``refused`` and ``gave_up`` count requests,
    ``answered`` are those of the whole load, ``front_cpu_seconds`` is what the server's first process took, which has no engine in it (but the fixed one), and ``memory`` what it
    had in the end, in bytes.
    """

    configuration: str
    share: float
    rate: float
    round: int
    summary: Summary
    answered: int
    refused: int
    refusals: Distribution | None
    gave_up: int
    front_cpu_seconds: float
    memory: int
    complaints: tuple[str, ...]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run. ``capacity`` is in requests per second; ``memory`` has (seconds, bytes) of each configuration's server."""

    capacity: float
    levels: list[Level]
    memory: dict[str, list[tuple[float, int]]]


@dataclass(frozen=True)
class _Served:
    endpoint: Endpoint
    pid: int
    watch: MemoryWatch


async def measure(plan: Plan, peers: Mapping[str, Peer], *, has_words: bool, view: View, out: Path | None) -> Outcome:
    """Start the servers side by side, of which one at a time has work, and take the loads in turn on each.

    Raises PeerFailed, BadAnswer, ClientDied and ValueError.
    """
    async with AsyncExitStack() as ending:
        began = time.perf_counter()
        served: dict[str, _Served] = {}
        for name, peer in peers.items():
            view.say(f"starting the server {name}")
            server = await ending.enter_async_context(running(peer))
            watch = await ending.enter_async_context(MemoryWatch(server.pid, began))
            served[name] = _Served(await find_endpoint(server.url), server.pid, watch)
        vocabulary = await ask_vocabulary(served[WITHOUT].endpoint) if has_words else NO_VOCABULARY
        workload = SyntheticWorkload(
            vocabulary=vocabulary,
            input_tokens=parse_lengths(plan.input_tokens),
            output_tokens=parse_lengths(plan.output_tokens),
        )
        for one in served.values():
            await _closed_loop(plan, one.endpoint, workload, WARM_CLIENTS, plan.capacity_seconds / 4, view)
        capacity = await _closed_loop(
            plan, served[WITHOUT].endpoint, workload, plan.clients, plan.capacity_seconds, view
        )
        view.say(f"capacity: {capacity:.2f} requests/s")
        levels: list[Level] = []
        for turn in range(plan.rounds):
            for number, share in enumerate(plan.shares):
                order = list(served) if (turn + number) % 2 == 0 else list(reversed(served))
                for name in order:
                    place = turn * len(plan.shares) + number
                    level, load = await _level(plan, name, served[name], workload, capacity, share, turn, place, view)
                    if out is not None:
                        write_samples(samples_path(out, len(levels)), load.samples)
                    levels.append(level)
        return Outcome(capacity=capacity, levels=levels, memory={name: one.watch.seen for name, one in served.items()})


async def _closed_loop(
    plan: Plan, endpoint: Endpoint, workload: SyntheticWorkload, clients: int, seconds: float, view: View
) -> float:
    """Requests per second, of which a part counts as its tokens: at first all begin together, and so would end together.

    Raises ValueError when none of them is answered.
    """
    mode = ClosedLoop(clients, seconds)
    count = clients * max(8, int(seconds * 20))
    planned = workload.requests(endpoint, count, (plan.seed, 1 << 32, clients), True)
    load = await drive(endpoint, planned, mode, processes=plan.processes, on_progress=view.watch(mode))
    summary = summarise(load.samples, window=(seconds / 4, seconds))
    tokens = [sample.output_tokens for sample in load.samples if sample.error is None]
    if not summary.output_throughput or not tokens:
        raise ValueError(f"no request of the closed loop was answered: {summary.errors}")
    return summary.output_throughput / mean(tokens)


async def _level(
    plan: Plan,
    name: str,
    served: _Served,
    workload: SyntheticWorkload,
    capacity: float,
    share: float,
    turn: int,
    place: int,
    view: View,
) -> tuple[Level, Load]:
    mode = OpenLoop(capacity * share)
    count = max(1, round(mode.rate * plan.seconds))
    planned = workload.requests(served.endpoint, count, (plan.seed, place), True)
    for request, at in zip(planned, mode.times(count, plan.seed + place), strict=True):
        request.at = at
    front = psutil.Process(served.pid)
    before = sum(front.cpu_times()[:2])
    load = await drive(
        served.endpoint,
        planned,
        mode,
        processes=plan.processes,
        on_progress=view.watch(mode),
        request_seconds=plan.patience,
    )
    cpu = sum(front.cpu_times()[:2]) - before
    summary = summarise(load.samples, plan.slo, plan.seed, window=(plan.warmup, plan.seconds))
    refused = [sample for sample in load.samples if sample.error in REFUSALS]
    # That requests fail is what is measured; that the client was late would be its own fault.
    blames = complaints(load.samples, msgspec.structs.replace(summary, failed=0), load.client)
    level = Level(
        configuration=name,
        share=share,
        rate=mode.rate,
        round=turn,
        summary=summary,
        answered=sum(sample.error is None for sample in load.samples),
        refused=len(refused),
        refusals=distribution([sample.e2e for sample in refused], plan.seed),
        gave_up=sum(sample.error == "timeout" for sample in load.samples),
        front_cpu_seconds=cpu,
        memory=served.watch.seen[-1][1],
        complaints=tuple(blames),
    )
    slow = f"{level.refusals.p99 * 1e3:.0f} ms" if level.refusals else "-"
    view.say(
        f"{share:g} times the capacity, {name}: goodput {summary.goodput:.2f}/s, {level.refused} refused (p99 {slow}), "
        f"{level.gave_up} gave up"
    )
    return level, load
