"""Which core does what, and the processor time that a server has taken."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from pennyweight.bench.memory import process_tree


@dataclass(frozen=True)
class Cores:
    """The measured server has a core of its own; the load, and the upstream where there is a third core, have others."""

    server: int
    load: int
    upstream: int


def choose_cores() -> Cores:
    """The first, the last and the second of those that may be used. Raises ValueError where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise ValueError("the server and its load need a core each, and only one may be used here")
    return Cores(server=usable[0], load=usable[-1], upstream=usable[1])


@contextmanager
def started_on(core: int) -> Iterator[None]:
    """Have the processes that this thread starts inside of the block run on that core alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int, *, own_process_only: bool) -> float:
    """User and system time of a process, and of those that it has started unless only its own is asked for.

    Read off each process's CPU clock, which counts in nanoseconds what /proc/PID/stat has in hundredths of a second. Raises
    psutil.NoSuchProcess when the process has ended.
    """
    pids = [process.pid for process in process_tree(pid)]
    total = 0.0
    for one in pids[:1] if own_process_only else pids:
        with suppress(OSError):  # it has ended meanwhile
            total += time.clock_gettime(_cpu_clock(one))
    return total


def _cpu_clock(pid: int) -> int:
    """The clock of clock_getcpuclockid(3), as Linux numbers it."""
    return (~pid << 3) | 2
