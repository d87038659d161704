"""One round on one step: its server is started, takes the round's streams one after the other, and is ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from pennyweight.bench.load.endpoint import Endpoint
from pennyweight.bench.load.mode import ClosedLoop, OpenLoop
from pennyweight.bench.load.run import ClientStats, drive
from pennyweight.bench.load.sample import BadAnswer, Sample
from pennyweight.bench.load.slo import Slo
from pennyweight.bench.load.summary import Summary, summarise
from pennyweight.bench.load.view import View
from pennyweight.bench.load.worker import ClientDied
from pennyweight.bench.peers.base import PeerFailed
from pennyweight.bench.peers.process import running
from pennyweight.bench.process_cpu import cpu_seconds

from .step import Step, serve
from .stream import Drawing, Stream, Workload

MODEL = "auto"


class Plan(msgspec.Struct, frozen=True):
    """How every step is loaded. ``hits`` are the requests by which a hit's own cost is measured; ``warm_up`` those before the
    streams, which don't count."""

    drawing: Drawing
    slo: Slo | None
    processes: int
    warm_up: list[int]
    hits: int


class Hits(msgspec.Struct, frozen=True):
    """What an answer from the response cache takes: CPU of all the server's processes, and what a client waits, one at a time."""

    requests: int
    cpu_microseconds: float
    e2e_p50: float


class Streamed(msgspec.Struct, kw_only=True):
    """A stream on a step. ``cpu_seconds`` are those of the server and its engines meanwhile, for what answers take of a machine."""

    step: str
    round: int
    repeat_share: float
    stream: Stream
    samples: list[Sample]
    summary: Summary
    cpu_seconds: float
    client: ClientStats


class Measured(msgspec.Struct, kw_only=True):
    """What a round on a step gave; ``failure`` says why where that is not all. ``hits`` where there is a response cache."""

    step: str
    round: int
    seconds_to_ready: float | None = None
    streams: list[Streamed] = msgspec.field(default_factory=list)
    hits: Hits | None = None
    failure: str | None = None


async def measure(
    step: Step,
    settings: dict[str, Any],
    number: int,
    workload: Workload,
    streams: Sequence[Stream],
    plan: Plan,
    directory: Path,
    view: View,
) -> Measured:
    """Measure a step. One that fails is told in what is returned, so that the others are still measured."""
    found = Measured(step=step.name, round=number)

    def say(stage: str) -> None:
        view.say(f"round {number + 1}: {step.name}: {stage}")

    try:
        say("starting")
        async with running(serve(settings, directory / "server.yaml")) as server:
            found.seconds_to_ready = server.seconds_to_ready
            endpoint = Endpoint(server.url, MODEL, "chat")
            await _warm_up(endpoint, workload, plan)
            for stream in streams:
                say(f"{len(stream.rows)} requests, {stream.repeats} of them repeats")
                found.streams.append(
                    await load_stream(step, number, endpoint, server.pid, workload, stream, plan, view)
                )
            if step.has_cache and plan.hits:
                found.hits = await measure_hits(endpoint, server.pid, workload, streams[0].rows[0], plan)
    except (PeerFailed, BadAnswer, ClientDied) as error:
        found.failure = str(error)
        say(f"failed: {error}")
    return found


async def _warm_up(endpoint: Endpoint, workload: Workload, plan: Plan) -> None:
    """Both models' first requests, which take longer than others. Raises BadAnswer when one fails."""
    for tier in (f"{MODEL}:quick", f"{MODEL}:deep"):
        asked = msgspec.structs.replace(endpoint, model=tier)
        planned = workload.requests(asked, plan.warm_up, [0.0] * len(plan.warm_up))
        load = await drive(asked, planned, ClosedLoop(2))
        if failed := next((sample for sample in load.samples if sample.error is not None), None):
            raise BadAnswer(f"a request before the load failed: {failed.error}, {failed.status}: {failed.message}")


async def load_stream(
    step: Step,
    number: int,
    endpoint: Endpoint,
    pid: int,
    workload: Workload,
    stream: Stream,
    plan: Plan,
    view: View,
) -> Streamed:
    before = cpu_seconds(pid)
    mode = OpenLoop(plan.drawing.rate, "trace")
    load = await drive(
        endpoint,
        workload.requests(endpoint, stream.rows, stream.times),
        mode,
        processes=plan.processes,
        on_progress=view.watch(mode),
        keep_text=True,
    )
    if all(sample.error is not None for sample in load.samples):
        raise BadAnswer(f"every request failed; the first one: {load.samples[0].error}, {load.samples[0].message}")
    return Streamed(
        step=step.name,
        round=number,
        repeat_share=stream.repeat_share,
        stream=stream,
        samples=load.samples,
        summary=summarise(load.samples, plan.slo, plan.drawing.seed),
        cpu_seconds=cpu_seconds(pid) - before,
        client=load.client,
    )


async def measure_hits(endpoint: Endpoint, pid: int, workload: Workload, row: int, plan: Plan) -> Hits:
    """One prompt that was answered already, again and again, over one connection. Raises BadAnswer where an answer is no hit."""
    before = cpu_seconds(pid)
    load = await drive(endpoint, workload.requests(endpoint, [row] * plan.hits, [0.0] * plan.hits), ClosedLoop(1))
    used = cpu_seconds(pid) - before
    if any(sample.cache != "hit" or sample.error is not None for sample in load.samples):
        raise BadAnswer("the response cache didn't give an answer again that it had given")
    return Hits(plan.hits, used / plan.hits * 1e6, median(sample.e2e for sample in load.samples))
