"""One round of one target: start it if it is ours to start, load it at each level, ask for its memory, stop it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from pennyweight.bench.load.closed_loop import run_closed_loop
from pennyweight.bench.load.complaints import complaints
from pennyweight.bench.load.mode import ClosedLoop
from pennyweight.bench.load.raw import samples_path, write_samples
from pennyweight.bench.load.sample import BadAnswer, Sample
from pennyweight.bench.load.summary import Summary, summarise
from pennyweight.bench.load.view import View
from pennyweight.bench.load.worker import ClientDied
from pennyweight.bench.machine import busy_cores, busy_seconds
from pennyweight.bench.memory import resident_bytes
from pennyweight.bench.peers.base import PeerFailed
from pennyweight.bench.peers.target import Reached, Target, reaching
from pennyweight.bench.process_cpu import cpu_seconds

from .plan import Plan

# In cores: a machine that has so much to do beside the benchmark is not a quiet one.
BUSY = 0.2


@dataclass(frozen=True)
class LoadSummary:
    """One load's numbers. Times are in seconds.

    The CPU is what the server's processes took, user and system, over the output tokens and over the requests; None where
    they can't be seen. ``raw_file`` has the load's samples, beside the result.
    """

    concurrency: int
    requests: int
    prompt_tokens: int
    output_tokens: int
    seconds: float
    output_tokens_per_second: float
    ttft_p50: float
    ttft_p99: float
    tpot_p50: float | None
    e2e_p50: float
    cpu_seconds_per_output_token: float | None = None
    cpu_seconds_per_request: float | None = None
    raw_file: str | None = None


@dataclass
class Measurement:
    """What one round of one target gave; ``failure`` says why where it gave nothing more.

    ``peer`` and ``variant`` are the server and its configuration, ``label`` what the target is called. ``samples`` are those
    of each load, and no part of the result's data.
    """

    label: str
    peer: str
    variant: str
    round: int
    busy_cores_before: float  # by everything else on the machine: a result beside other work is none
    seconds_to_ready: float | None = None
    seconds_to_first_answer: float | None = None  # from the process's start; shows a ready that came too early
    loads: list[LoadSummary] = field(default_factory=list)
    resident_bytes: int | None = None
    complaints: list[str] = field(default_factory=list)
    failure: str | None = None
    samples: list[list[Sample]] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        """For the result."""
        return {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name != "samples"}


async def measure(target: Target, plan: Plan, number: int, rounds: int, view: View) -> Measurement:
    """Measure a target. One that fails is told in what is returned, so that the others are still measured."""
    peer, variant = (target.peer.name, target.peer.variant) if target.peer else ("url", target.url or "")
    found = Measurement(target.name, peer, variant, number, busy_cores())

    def say(stage: str) -> None:
        view.say(f"round {number + 1} of {rounds}: {target.name}: {stage}")

    try:
        say("starting" if target.peer is not None else "looking for its model")
        async with reaching(target, plan.api) as server:
            if found.busy_cores_before > BUSY and server.pid is not None:
                found.complaints.append(f"other work kept {found.busy_cores_before:.1f} cores busy before it")
                say(found.complaints[-1])
            found.seconds_to_ready = server.seconds_to_ready
            for concurrency in plan.concurrency:
                say(f"{plan.count(concurrency)} requests, {concurrency} at once")
                await _load(found, server, plan, concurrency, view)
            if server.pid is not None:
                with contextlib.suppress(psutil.Error, PermissionError):  # another user's
                    found.resident_bytes = resident_bytes(server.pid)
    except (PeerFailed, BadAnswer, ClientDied) as error:
        found.failure, found.loads, found.samples = str(error), [], []
        say(f"failed: {error}")
    return found


async def _load(found: Measurement, server: Reached, plan: Plan, concurrency: int, view: View) -> None:
    number, endpoint, processes = found.round, server.endpoint, plan.processes
    if server.started is not None and found.seconds_to_first_answer is None:
        await run_closed_loop(endpoint, plan.first(endpoint, number), 1)
        found.seconds_to_first_answer = time.perf_counter() - server.started
    await run_closed_loop(endpoint, plan.warm_up(endpoint, number, concurrency), concurrency, processes=processes)
    requests = plan.load(endpoint, number, concurrency)
    began, busy, before = time.perf_counter(), busy_seconds(), _cpu_seconds(server.pid)
    load = await run_closed_loop(
        endpoint, requests, concurrency, processes=processes, on_progress=view.watch(ClosedLoop(concurrency))
    )
    after = _cpu_seconds(server.pid)
    busy, passed = busy_seconds() - busy, time.perf_counter() - began
    summary = summarise(load.samples, seed=plan.seed)
    used = after - before if before is not None and after is not None else None
    if used is not None and (others := (busy - used - load.client.cpu_seconds) / passed) > BUSY:
        found.complaints.append(f"at {concurrency}: other work kept {others:.1f} cores busy meanwhile")
    found.loads.append(load_summary(concurrency, summary, used))
    found.samples.append(load.samples)
    found.complaints += [f"at {concurrency}: {one}" for one in complaints(load.samples, summary, load.client)]


def load_summary(concurrency: int, found: Summary, cpu: float | None) -> LoadSummary:
    """What a comparison keeps of a closed loop whose answers were all streamed and all good; ``cpu`` is in seconds."""
    assert found.ttft is not None
    assert found.e2e is not None
    return LoadSummary(
        concurrency=concurrency,
        requests=found.requests,
        prompt_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        seconds=found.duration,
        output_tokens_per_second=found.output_throughput,
        ttft_p50=found.ttft.p50,
        ttft_p99=found.ttft.p99,
        tpot_p50=found.tpot.p50 if found.tpot else None,
        e2e_p50=found.e2e.p50,
        cpu_seconds_per_output_token=None if cpu is None else cpu / found.output_tokens,
        cpu_seconds_per_request=None if cpu is None else cpu / found.requests,
    )


def keep_samples(found: Measurement, directory: Path, number: int) -> None:
    """Write the samples of its loads, which are the comparison's loads from ``number`` on. Raises OSError."""
    for place, samples in enumerate(found.samples):
        path = samples_path(directory, number + place)
        write_samples(path, samples)
        found.loads[place] = dataclasses.replace(found.loads[place], raw_file=path.name)


def _cpu_seconds(pid: int | None) -> float | None:
    if pid is None:
        return None
    try:
        return cpu_seconds(pid)
    except psutil.Error:
        return None
