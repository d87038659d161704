"""An engine of a capacity that a test sets, and may change while it is asked."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from fakes.scripted_engine import ScriptedEngine, says

from pennyweight.server.types import Event, Finished, Request, Started, Usage


@dataclass
class FixedEngine(ScriptedEngine):
    """Answers ``places`` requests at a time, better priorities first, each in ``seconds``; it begins one after ``start_seconds``.

    With ``tells_queue`` it says how long each waited. ``most`` is how many it ever had at once, ``taken`` the order that it took them in.
    """

    places: int = 4
    seconds: float = 0.05
    start_seconds: float = 0.0
    tells_queue: bool = True
    running: int = 0
    waiting: deque[tuple[int, asyncio.Future[None]]] = field(default_factory=deque)
    has: int = 0
    most: int = 0
    taken: list[Request] = field(default_factory=list)

    async def start(self) -> None:
        """Nothing is to be loaded."""

    async def generate(self, request: Request) -> AsyncGenerator[Event]:
        came = time.monotonic()
        self.has += 1
        self.most = max(self.most, self.has)
        try:
            await self._take(request.priority)
            try:
                waited = time.monotonic() - came
                self.taken.append(request)
                await asyncio.sleep(self.start_seconds)
                yield Started(
                    request_id=request.id,
                    model=request.model,
                    fingerprint="fp_fixed",
                    queue_seconds=waited if self.tells_queue else None,
                )
                for delta in says("Hello", " world"):
                    await asyncio.sleep(self.seconds / 3)
                    yield delta
                yield Finished(usage=Usage(prompt_tokens=1, completion_tokens=2))
            finally:
                self.running -= 1
                self._call()
        finally:
            self.has -= 1

    async def _take(self, priority: int) -> None:
        turn = (priority, asyncio.get_running_loop().create_future())
        self.waiting.append(turn)
        self._call()
        try:
            await turn[1]
        except asyncio.CancelledError:
            if turn in self.waiting:
                self.waiting.remove(turn)
            elif not turn[1].cancelled():
                self.running -= 1
                self._call()
            raise

    def _call(self) -> None:
        while self.waiting and self.running < self.places:
            turn = min(self.waiting, key=lambda one: one[0])
            self.waiting.remove(turn)
            if not turn[1].done():
                self.running += 1
                turn[1].set_result(None)
