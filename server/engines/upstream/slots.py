"""The places of an upstream's connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .waits import Waits


class Slots:
    """At most ``count`` requests at once; the others wait in their order."""

    def __init__(self, count: int, waits: Waits) -> None:
        self._places = asyncio.Semaphore(count)
        self._waits = waits
        self.running = 0
        self.waiting = 0

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Wait for a place and hold it. Raises ShuttingDown."""
        self.waiting += 1
        try:
            async with self._waits.until(None):
                await self._places.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._places.release()
