"""How late an event loop is: a busy one times what it reads too late, even if it sent in time."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

CHECK_SECONDS = 0.02


class LoopLag:
    """Asks the running loop to be woken every ``CHECK_SECONDS`` and notes by how many ``seconds`` it was late."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._checking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> LoopLag:
        self._checking = asyncio.create_task(self._check())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._checking is not None
        self._checking.cancel()
        await asyncio.wait((self._checking,))

    async def _check(self) -> None:
        while True:
            due = time.perf_counter() + CHECK_SECONDS
            await asyncio.sleep(CHECK_SECONDS)
            self.seconds.append(time.perf_counter() - due)
