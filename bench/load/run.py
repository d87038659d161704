"""Runs a load: over how many processes, from one start, to the samples of all."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import msgspec
import numpy as np

from .client import ClientReport
from .endpoint import Endpoint
from .mode import ClosedLoop, Mode, OpenLoop
from .progress import OnProgress, Progress, combined
from .request import PlannedRequest, sessions
from .sample import Sample
from .transport import REQUEST_SECONDS
from .worker import PROGRESS_SECONDS, Share, SharedTurnstile, started

# Between the last client's being ready and the load's start, so that each has got the word by then.
HEAD_START_SECONDS = 0.1


class ClientStats(msgspec.Struct, frozen=True):
    """What the load took of this machine. ``cpu_seconds`` is the client processes' together, ``cpu_us_per_token`` that over
    the output tokens; ``loop_lag`` is by how much their event loops were late, in seconds.
    """

    processes: int
    cpu_seconds: float
    cpu_us_per_token: float | None
    loop_lag_p99: float
    loop_lag_max: float


class Load(msgspec.Struct):
    """A load that has ended: its samples in the order of its requests, without those that were never sent."""

    samples: list[Sample]
    client: ClientStats


async def run_load(
    endpoint: Endpoint,
    requests: Sequence[PlannedRequest],
    mode: Mode,
    *,
    processes: int = 0,
    on_progress: OnProgress | None = None,
    request_seconds: float = REQUEST_SECONDS,
    keep_text: bool = False,
) -> list[Sample]:
    """The samples of ``drive``."""
    load = await drive(
        endpoint,
        requests,
        mode,
        processes=processes,
        on_progress=on_progress,
        request_seconds=request_seconds,
        keep_text=keep_text,
    )
    return load.samples


async def drive(
    endpoint: Endpoint,
    requests: Sequence[PlannedRequest],
    mode: Mode,
    *,
    processes: int = 0,
    on_progress: OnProgress | None = None,
    request_seconds: float = REQUEST_SECONDS,
    keep_text: bool = False,
) -> Load:
    """Send all requests and wait for their answers; a failed request is a sample with an ``error`` and ends nothing.

    ``processes`` are the clients' own; 0 sends from the caller's event loop, which must have nothing else to do. What is sent
    when is the same for any number. Sessions are dealt out in turn in an open loop; in a closed one each process has its part
    of the concurrency and takes the next session from a common counter. Raises ClientDied, and ValueError for a mode that
    can't be kept over so many processes.
    """
    if isinstance(mode, OpenLoop) and mode.max_concurrency and processes > 1:
        raise ValueError("a limit on an open loop's concurrency is kept by one client process; take --processes 1")
    if processes == 0:
        share = _shares(endpoint, requests, mode, 1, request_seconds, keep_text)[0]
        reports = [await _in_this_loop(share, len(requests), on_progress)]
    else:
        shares = _shares(endpoint, requests, mode, processes, request_seconds, keep_text)
        reports = await _in_processes(shares, len(requests), on_progress)
    samples = sorted((sample for report in reports for sample in report.samples), key=lambda sample: sample.index)
    return Load(samples, _stats(reports, samples))


def _shares(
    endpoint: Endpoint,
    requests: Sequence[PlannedRequest],
    mode: Mode,
    count: int,
    request_seconds: float,
    keep_text: bool,
) -> list[Share]:
    everything = sessions(requests)
    shares = []
    for number in range(count):
        own, clients = everything[number::count], 0
        if isinstance(mode, ClosedLoop):
            own, clients = everything, len(range(number, mode.concurrency, count))
            if not clients:
                continue
        planned = {index: requests[index] for session in own for index in session}
        if planned:
            shares.append(Share(endpoint, planned, own, mode, clients, request_seconds, keep_text))
    return shares


async def _in_this_loop(share: Share, planned: int, on_progress: OnProgress | None) -> ClientReport:
    client = share.client()
    start = time.perf_counter() + HEAD_START_SECONDS / 10
    running = asyncio.ensure_future(client.run(start, itertools.count().__next__, share.clients))
    try:
        while not running.done():
            await asyncio.wait((running,), timeout=PROGRESS_SECONDS)
            if on_progress is not None:
                on_progress(combined([client.progress()], planned, time.perf_counter() - start))
        return running.result()
    finally:
        running.cancel()


async def _in_processes(shares: Sequence[Share], planned: int, on_progress: OnProgress | None) -> list[ClientReport]:
    take = SharedTurnstile()
    latest = [Progress(0, 0, 0, 0, None)] * len(shares)
    async with AsyncExitStack() as ending:
        workers = [await ending.enter_async_context(started(share, take)) for share in shares]
        for worker in workers:
            await worker.ready()
        start = time.perf_counter() + HEAD_START_SECONDS

        def note(number: int, progress: Progress) -> None:
            latest[number] = progress
            if on_progress is not None:
                on_progress(combined(latest, planned, time.perf_counter() - start))

        running = [
            asyncio.ensure_future(worker.run(start, lambda progress, number=number: note(number, progress)))  # type: ignore[misc]
            for number, worker in enumerate(workers)
        ]
        try:
            return list(await asyncio.gather(*running))
        finally:
            for task in running:
                task.cancel()


def _stats(reports: Sequence[ClientReport], samples: Sequence[Sample]) -> ClientStats:
    tokens = sum(sample.output_tokens for sample in samples)
    seconds = sum(report.cpu_seconds for report in reports)
    lags = np.array([lag for report in reports for lag in report.loop_lags] or [0.0])
    return ClientStats(
        processes=len(reports),
        cpu_seconds=seconds,
        cpu_us_per_token=seconds / tokens * 1e6 if tokens else None,
        loop_lag_p99=float(np.percentile(lags, 99)),
        loop_lag_max=float(lags.max()),
    )
