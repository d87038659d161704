"""The CPU time of a server, over all of its processes."""

from __future__ import annotations

import contextlib

import psutil

from .memory import process_tree


def cpu_seconds(pid: int) -> float:
    """User and system time so far of a process tree, in seconds, with that of children that have ended and been waited for.

    The difference of two readings is what the tree has used between them. Raises psutil.NoSuchProcess.
    """
    total = 0.0
    for process in process_tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile, and its parent tells of it next time
            total += sum(process.cpu_times()[:4])  # user, system, and those of its ended children
    return total
