"""One generation that several requests wait for (single-flight)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from pennyweight.server.engines.base import Engine
from pennyweight.server.errors import EngineFailed
from pennyweight.server.types import Delta, Event, Finished, Request, Started

from .label import Label
from .store import StoredAnswer


class Flight:
    """A generation in a task of its own, whose events each subscriber gets from the first on, as they come.

    The engine is read at its own pace: a slow subscriber holds up nobody. The last one to leave cancels it. ``on_end`` is called once,
    with the answer if it became whole. ``began`` is when it did; ``is_kept`` turns false when its answer is purged before it is there.
    """

    def __init__(
        self,
        engine: Engine,
        request: Request,
        key: bytes,
        label: Label,
        began: float,
        on_end: Callable[[Flight, StoredAnswer | None], None],
    ) -> None:
        self.key = key
        self.label = label
        self.began = began
        self.is_kept = True
        self._events: list[Event] = []
        self._more = asyncio.Event()
        self._error: BaseException | None = None
        self._is_over = False
        self._subscribers = 0
        self._on_end = on_end
        self._task = asyncio.create_task(self._run(engine, request))

    async def subscribe(self) -> AsyncGenerator[Event]:
        """The events from the first on. Raises what the engine raised."""
        self._subscribers += 1
        place = 0
        try:
            while True:
                while place < len(self._events):
                    yield self._events[place]
                    place += 1
                if self._error is not None:
                    raise self._error
                if self._is_over:
                    return
                await self._more.wait()
        finally:
            self._subscribers -= 1
            if not self._subscribers and not self._is_over:
                # Nobody may join it any more, also before the task has come to its end.
                self._end(None)
                self._task.cancel()
                await asyncio.wait((self._task,))

    async def _run(self, engine: Engine, request: Request) -> None:
        try:
            async with aclosing(engine.generate(request)) as events:
                async for event in events:
                    self._events.append(event)
                    # Whoever reads the last event leaves: by then it must be known that nothing is left to cancel.
                    if isinstance(event, Finished):
                        self._end(self._whole(event))
                    self._wake()
            if not self._is_over:
                raise EngineFailed("The engine's answer ended before it was whole.")
        except Exception as error:
            self._error = error
            self._end(None)

    def _whole(self, finished: Finished) -> StoredAnswer | None:
        match self._events:
            case [Started() as started, *between, _]:
                return StoredAnswer(started, tuple(one for one in between if isinstance(one, Delta)), finished)
        return None

    def _end(self, answer: StoredAnswer | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._on_end(self, answer)
            self._wake()

    def _wake(self) -> None:
        """Let those go on who wait for an event; whoever comes to its end then waits for the next."""
        self._more.set()
        self._more = asyncio.Event()
