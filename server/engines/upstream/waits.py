"""Waits with a time limit that can all be ended at once, when the engine is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pennyweight.server.errors import ShuttingDown

from .failure import Failure


class Waits:
    """All of an engine's waiting. Belongs to the event loop."""

    def __init__(self) -> None:
        self._running: set[asyncio.Timeout] = set()
        self.is_over = False

    @asynccontextmanager
    async def until(self, when: float | None, late: Failure | None = None) -> AsyncIterator[None]:
        """What is awaited inside may take until ``when``, in the loop's time.

        Raises ``late`` when it takes longer, and ShuttingDown once the waiting is over.
        """
        self.check()
        timeout = asyncio.timeout_at(when)
        try:
            async with timeout:
                self._running.add(timeout)
                try:
                    yield
                finally:
                    self._running.discard(timeout)
        except TimeoutError:
            if not timeout.expired():
                raise
            self.check()
            assert late is not None, "there is a limit"
            raise late from None

    async def sleep(self, seconds: float) -> None:
        """Sleep. Raises ShuttingDown."""
        async with self.until(None):
            await asyncio.sleep(seconds)

    def check(self) -> None:
        """Raise ShuttingDown once the waiting is over."""
        if self.is_over:
            raise ShuttingDown("The server is shutting down.")

    def end(self) -> None:
        """End every wait, and those to come, with ShuttingDown."""
        self.is_over = True
        now = asyncio.get_running_loop().time()
        for timeout in self._running:
            if not timeout.expired():
                timeout.reschedule(now)
