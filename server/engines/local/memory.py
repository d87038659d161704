"""How much memory a process and everything below it take."""

from __future__ import annotations

import contextlib

import psutil


def process_tree_bytes(pid: int) -> int:
    """Resident bytes of a process and its descendants, pages that several share counted once (PSS, where the system has it)."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                memory = process.memory_full_info()
                total += getattr(memory, "pss", memory.rss)
    return total
