"""The limits of all engines, and the engine around an engine that keeps within its own."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from pennyweight.server.config import OverloadSettings
from pennyweight.server.engines.around import EngineAround
from pennyweight.server.engines.base import Engine
from pennyweight.server.errors import Overloaded
from pennyweight.server.types import Delta, Event, Request, Started

from .limiter import Limiter


class Overload:
    """A Limiter for each engine, whatever stands around it: a model and its adapters have one in common.

    All methods belong to the event loop's thread.
    """

    def __init__(self, settings: OverloadSettings) -> None:
        self._settings = settings
        # The engine is kept beside its limiter, so that no other can come to have its id.
        self._limiters: dict[int, tuple[Engine, Limiter]] = {}

    def around(self, engine: Engine) -> Engine:
        """The engine within its limit."""
        return LimitedEngine(engine, self.limiter(engine))

    def limiter(self, engine: Engine) -> Limiter:
        """What the engine is limited by."""
        while isinstance(engine, EngineAround):
            engine = engine.inner
        found = self._limiters.get(id(engine))
        if found is None:
            found = self._limiters[id(engine)] = engine, Limiter(self._settings.max_wait, self._settings.max_tpot)
        return found[1]


class LimitedEngine(EngineAround):
    """``engine``, given no more than ``limiter`` lets through. Embeddings pass it by: they have no class and no first token."""

    def __init__(self, engine: Engine, limiter: Limiter) -> None:
        super().__init__(engine)
        self._limiter = limiter

    async def generate(self, request: Request) -> AsyncGenerator[Event]:
        place = await self._limiter.enter(request)
        has_one_choice, last = request.sampling.n == 1, 0.0
        # It reaches the engine now: what it has waited here is no part of what it waits there.
        passed_on = msgspec.structs.replace(request, arrival=place.since) if request.arrival else request
        try:
            async with aclosing(self._engine.generate(passed_on)) as events:
                async for event in events:
                    if isinstance(event, Delta):
                        if has_one_choice:
                            now = time.monotonic()
                            if last:
                                place.interval(now - last, event)
                            last = now
                    elif isinstance(event, Started):
                        place.started(event.queue_seconds)
                        if place.waited and event.queue_seconds is not None:
                            waited = place.waited + event.queue_seconds
                            event = msgspec.structs.replace(event, queue_seconds=waited)
                    yield event
        except Overloaded:
            place.pushed_back()
            raise
        finally:
            place.left()
