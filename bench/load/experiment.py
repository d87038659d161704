"""Measures a workload on an endpoint at one load after another."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from .complaints import MOST_LAG, complaints
from .endpoint import Endpoint
from .mode import ClosedLoop, Mode, OpenLoop
from .progress import OnProgress
from .replay import TraceWorkload
from .request import PlannedRequest
from .run import ClientStats, Load, drive
from .sample import BadAnswer, Sample
from .slo import Slo
from .summary import Summary, summarise
from .transport import REQUEST_SECONDS
from .workload import Workload

# What one client process is given: far less than it was seen to take without being late (bench/load/transport.py).
STREAMS_PER_PROCESS = 64
REQUESTS_PER_PROCESS = 200
CLOSED_LOOP_REQUESTS = 32
CLOSED_LOOP_WAVES = 8
WARM_CLIENTS = 8


@dataclass(frozen=True)
class Point:
    """One load and what came of it. ``prefix_cache`` is the measured share of prompt tokens that were cached."""

    load: Mode
    summary: Summary
    client: ClientStats
    complaints: tuple[str, ...]
    prefix_cache: dict[str, float | None]
    samples: list[Sample]

    def describe(self) -> dict[str, Any]:
        """For the result, without the samples."""
        fields = (field.name for field in dataclasses.fields(self) if field.name != "samples")
        return {name: getattr(self, name) for name in fields}


@dataclass(frozen=True)
class Experiment:
    """How every load of a run is measured.

    ``requests`` (sessions, where they have several turns) or ``seconds`` say how long a load is: a closed loop ends
    after ``seconds`` or with its last request. ``warmup`` and ``cooldown`` are seconds at its two ends that don't count;
    ``warmup_requests`` are sent before the first load and counted nowhere.
    """

    endpoint: Endpoint
    workload: Workload
    seed: int = 0
    requests: int | None = None
    seconds: float | None = None
    exact: bool = True
    slo: Slo | None = None
    warmup: float = 0.0
    cooldown: float = 0.0
    warmup_requests: int = 0
    processes: int | None = None
    cores: int = 1
    most_lag: float = MOST_LAG
    request_seconds: float = REQUEST_SECONDS

    def describe(self) -> dict[str, Any]:
        """What it measures, for the result."""
        return {
            "endpoint": {"url": self.endpoint.url, "model": self.endpoint.model, "api": self.endpoint.api},
            "workload": self.workload.describe(),
            "slo": self.slo,
        }

    async def warm_up(self) -> None:
        """Send the warm-up's requests. Raises BadAnswer when none of them succeeds, ClientDied, ValueError."""
        if not self.warmup_requests:
            return
        # A number that no load has: its prompts are not those that are measured.
        planned = self.workload.requests(self.endpoint, self.warmup_requests, (self.seed, 1 << 32), self.exact)
        mode = ClosedLoop(min(self.warmup_requests, WARM_CLIENTS))
        load = await drive(self.endpoint, planned, mode, processes=1, request_seconds=self.request_seconds)
        if all(sample.error for sample in load.samples):
            first = load.samples[0]
            raise BadAnswer(f"{self.endpoint.url}{self.endpoint.path}: {first.error}: {first.message}")

    def plan(self, mode: Mode, number: int) -> list[PlannedRequest]:
        """The requests of the run's load ``number``, each with its time. The same experiment gives the same ones.

        Raises ValueError.
        """
        count = self._count(mode)
        planned = self.workload.requests(self.endpoint, count, (self.seed, number), self.exact)
        if isinstance(mode, OpenLoop):
            beginnings = [index for index in range(len(planned)) if _is_beginning(planned, index)]
            for index, at in zip(beginnings, self._times(mode, len(beginnings), number), strict=True):
                planned[index].at = at
        return planned

    async def measure(self, mode: Mode, number: int, on_progress: OnProgress | None = None) -> Point:
        """Run one load. Raises ClientDied, and ValueError for one that can't be run or of which nothing counts."""
        if isinstance(mode, ClosedLoop) and self.seconds is not None:
            mode = msgspec.structs.replace(mode, seconds=self.seconds)
        planned = self.plan(mode, number)
        load = await drive(
            self.endpoint,
            planned,
            mode,
            processes=self.processes or default_processes(mode, self.cores),
            on_progress=on_progress,
            request_seconds=self.request_seconds,
        )
        return self._point(mode, planned, load)

    def _point(self, mode: Mode, planned: Sequence[PlannedRequest], load: Load) -> Point:
        summary = summarise(load.samples, self.slo, self.seed, window=self._window(load.samples))
        sent = [planned[sample.index].output_tokens for sample in load.samples]
        exact = sum(tokens or 0 for tokens in sent) if self.exact and all(sent) else None
        cached = None
        if summary.cached_tokens is not None and summary.input_tokens:
            cached = summary.cached_tokens / summary.input_tokens
        bound = self.workload.infinite_cache() if isinstance(self.workload, TraceWorkload) else None
        return Point(
            load=mode,
            summary=summary,
            client=load.client,
            complaints=tuple(
                complaints(load.samples, summary, load.client, most_lag=self.most_lag, planned_output=exact)
            ),
            prefix_cache={"hit_rate": cached, "infinite_hit_rate": bound.tokens if bound else None},
            samples=load.samples,
        )

    def _window(self, samples: Sequence[Sample]) -> tuple[float, float] | None:
        """The part of a load that counts. What runs out begins ``cooldown`` before the last request was due."""
        if not self.warmup and not self.cooldown:
            return None
        if self.cooldown:
            return self.warmup, max(sample.scheduled for sample in samples) - self.cooldown
        return self.warmup, max(sample.ended for sample in samples)

    def _count(self, mode: Mode) -> int:
        """How many sessions to plan. A closed loop of so many seconds gets more than it will need."""
        if isinstance(self.workload, TraceWorkload):
            return min(self.requests or len(self.workload.rows), len(self.workload.rows))
        if self.requests is not None:
            return self.requests
        if isinstance(mode, ClosedLoop):
            if self.seconds is not None:
                return math.ceil(self.seconds * mode.concurrency * 10)
            return max(CLOSED_LOOP_REQUESTS, CLOSED_LOOP_WAVES * mode.concurrency)
        if math.isinf(mode.rate):
            raise ValueError("all requests at once are how many? Say --requests")
        return max(1, round(mode.rate * (self.seconds or 60.0)))

    def _times(self, mode: OpenLoop, count: int, number: int) -> list[float]:
        if mode.arrivals == "trace" and isinstance(self.workload, TraceWorkload):
            return self.workload.times_at(mode.rate)[:count]
        return mode.times(count, self.seed + number)


def default_processes(mode: Mode, cores: int) -> int:
    """The client processes that a load wants, of no more than half of the machine's cores: the rest is the server's."""
    if isinstance(mode, ClosedLoop):
        wanted = math.ceil(mode.concurrency / STREAMS_PER_PROCESS)
    elif mode.max_concurrency or math.isinf(mode.rate):
        wanted = 1
    else:
        wanted = math.ceil(mode.rate / REQUESTS_PER_PROCESS)
    return max(1, min(wanted, cores // 2))


def _is_beginning(planned: Sequence[PlannedRequest], index: int) -> bool:
    """Whether a request is a session's first, where those of a session come one after the other."""
    session = planned[index].session
    return session is None or index == 0 or planned[index - 1].session != session
