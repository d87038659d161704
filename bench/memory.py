"""The resident memory of a server, over all of its processes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil


def process_tree(pid: int) -> list[psutil.Process]:
    """A process and all that it started, directly or not. Raises psutil.NoSuchProcess."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def resident_bytes(pid: int) -> int:
    """The resident memory of a process tree, each shared page counted once (PSS, which divides it by its users).

    Memory that was asked for and never touched isn't resident and doesn't count. Raises psutil.NoSuchProcess.
    """
    total = 0
    for process in process_tree(pid):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it has ended meanwhile
            total += pss_bytes(Path(f"/proc/{process.pid}/smaps_rollup").read_text())
    return total


def pss_bytes(rollup: str) -> int:
    """The proportional set size in the text of a smaps_rollup."""
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
