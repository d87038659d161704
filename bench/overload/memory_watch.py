"""The memory of a server's own process over the time of a run.

Its engine's process is left out: a KV cache takes its memory as it is touched for the first time, up to what it was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import TracebackType

import psutil

INTERVAL_SECONDS = 2.0


class MemoryWatch:
    """Looks at the memory of a process regularly, within a block; ``seen`` are pairs of seconds since ``began`` and bytes."""

    def __init__(self, pid: int, began: float) -> None:
        self.seen: list[tuple[float, int]] = []
        self._pid = pid
        self._began = began
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> MemoryWatch:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._watching is not None
        self._watching.cancel()
        await asyncio.wait((self._watching,))
        self._look()

    async def _watch(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(INTERVAL_SECONDS)

    def _look(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):  # what follows tells that the server has ended
            found = psutil.Process(self._pid).memory_info().rss
            self.seen.append((time.perf_counter() - self._began, found))
