"""When recorded requests are sent again: one after the other, so many at once, or as they came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from .recording import Recorded

# So many requests of a trace may be under way; what comes then waits, and is told as lag.
MOST_IN_FLIGHT = 1024


class Pace(msgspec.Struct, frozen=True):
    """``concurrency`` at once; with a ``speed``, at the recorded arrival times, that many times as fast."""

    concurrency: int = 1
    speed: float | None = None


async def paced(records: Iterable[Recorded], pace: Pace, work: Callable[[Recorded], Awaitable[None]]) -> float:
    """Work on each record at its time; what ``work`` raises ends all. Returns how late the latest was begun, in seconds.

    Records are taken as they are due, so that no more are in memory than are worked on.
    """
    slots = asyncio.Semaphore(pace.concurrency if pace.speed is None else MOST_IN_FLIGHT)
    began, first, lag = time.perf_counter(), None, 0.0

    async def one(record: Recorded) -> None:
        try:
            await work(record)
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as tasks:
            for record in records:
                await slots.acquire()
                if pace.speed is not None:
                    first = record.record.arrival if first is None else first
                    due = began + (record.record.arrival - first) / pace.speed
                    await asyncio.sleep(max(due - time.perf_counter(), 0))
                    lag = max(lag, time.perf_counter() - due)
                tasks.create_task(one(record))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return lag
