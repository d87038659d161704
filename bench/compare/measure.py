"""One measurement of one peer: start it, load it at each level, ask for its memory, stop it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pennyweight.bench.load.closed_loop import run_closed_loop
from pennyweight.bench.load.endpoint import find_endpoint
from pennyweight.bench.load.sample import BadAnswer, Sample
from pennyweight.bench.load.summary import summarise
from pennyweight.bench.load.synthetic import make_prompts
from pennyweight.bench.machine import busy_cores
from pennyweight.bench.memory import resident_bytes
from pennyweight.bench.peers.base import Peer, PeerFailed
from pennyweight.bench.peers.process import running

# In cores: a machine that has so much to do beside the benchmark is not a quiet one.
BUSY = 0.2


@dataclass(frozen=True)
class Plan:
    """What every peer is measured with: the same prompts, in the same order."""

    tokenizer: Path
    prompt_tokens: int
    output_tokens: int
    concurrency: tuple[int, ...]
    waves: int
    least_requests: int = 8

    def loads(self) -> list[tuple[int, list[list[int]], list[list[int]]]]:
        """Of each level its concurrency, its prompts to warm up with, and those that are measured. Raises ValueError."""
        sizes = [(level, max(2, level), max(self.least_requests, self.waves * level)) for level in self.concurrency]
        total = sum(warm + measured for _, warm, measured in sizes)
        prompts = iter(make_prompts(self.tokenizer, count=total, tokens=self.prompt_tokens))
        return [
            (level, [next(prompts) for _ in range(warm)], [next(prompts) for _ in range(measured)])
            for level, warm, measured in sizes
        ]


@dataclass(frozen=True)
class LoadSummary:
    """One load's numbers. Times are in seconds."""

    concurrency: int
    requests: int
    prompt_tokens: int
    output_tokens: int
    seconds: float
    output_tokens_per_second: float
    ttft_p50: float
    ttft_p99: float
    tpot_p50: float | None


@dataclass(frozen=True)
class Measurement:
    """What one run of one peer gave; ``failure`` says why where it gave nothing more."""

    peer: str
    variant: str
    round: int
    busy_cores_before: float  # by everything else on the machine: a result beside other work is none
    seconds_to_ready: float | None = None
    seconds_to_first_answer: float | None = None  # from the process's start; shows a ready that came too early
    loads: tuple[LoadSummary, ...] = ()
    resident_bytes: int | None = None
    failure: str | None = None


async def measure(peer: Peer, plan: Plan, number: int, on_progress: Callable[[str], None]) -> Measurement:
    """Measure a peer. A peer that fails is told in the measurement, so that the others are still measured."""
    busy = busy_cores()
    if busy > BUSY:
        on_progress(f"other work keeps {busy:.1f} cores busy, so these numbers will not hold")
    try:
        return await _measure(peer, plan, number, busy, on_progress)
    except (PeerFailed, BadAnswer) as error:
        on_progress(f"failed: {error}")
        return Measurement(peer.name, peer.variant, number, busy, failure=str(error))


async def _measure(peer: Peer, plan: Plan, number: int, busy: float, on_progress: Callable[[str], None]) -> Measurement:
    on_progress("starting")
    async with running(peer) as server:
        endpoint = await find_endpoint(server.url)
        summaries: list[LoadSummary] = []
        first_answer: float | None = None
        for level, warm, prompts in plan.loads():
            on_progress(f"{len(prompts)} requests, {level} at once")
            if first_answer is None:
                await run_closed_loop(endpoint, warm[:1], output_tokens=1, concurrency=1)
                first_answer = time.perf_counter() - server.started
            await run_closed_loop(endpoint, warm, output_tokens=plan.output_tokens, concurrency=level)
            samples = await run_closed_loop(endpoint, prompts, output_tokens=plan.output_tokens, concurrency=level)
            summaries.append(summary_at(level, samples))
        resident = resident_bytes(server.pid)
        return Measurement(
            peer=peer.name,
            variant=peer.variant,
            round=number,
            busy_cores_before=busy,
            seconds_to_ready=server.seconds_to_ready,
            seconds_to_first_answer=first_answer,
            loads=tuple(summaries),
            resident_bytes=resident,
        )


def summary_at(concurrency: int, samples: Sequence[Sample]) -> LoadSummary:
    """What a comparison keeps of a closed loop whose answers were all streamed and all good."""
    found = summarise(samples)
    assert found.ttft is not None
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
    )
