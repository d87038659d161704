"""The response cache as an engine around an engine."""

from __future__ import annotations

import enum
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from pennyweight.server.config import ResponseCacheSettings
from pennyweight.server.engines.around import EngineAround
from pennyweight.server.engines.base import Engine
from pennyweight.server.types import Event, Request, Started

from .flight import Flight
from .key import is_deterministic, request_key
from .store import AnswerStore, StoredAnswer


class CacheResult(enum.StrEnum):
    """What the response cache did for a request: gave a stored answer, had it share the generation of another that was under way,
    had it generated and kept, or took no part. A cache inside it (the semantic one) that answers has an answer's header say so;
    here that is a miss."""

    HIT = "hit"
    SHARED = "shared"
    MISS = "miss"
    BYPASS = "bypass"


class ResponseCache:
    """Answers that may be given again, and generations that are under way. One for a server: models and tenants are told apart by
    their keys. All methods belong to the event loop's thread.

    ``results`` counts requests by what was done for them.
    """

    def __init__(self, settings: ResponseCacheSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = AnswerStore(settings.max_bytes, settings.ttl, clock)
        self.results: Counter[CacheResult] = Counter()
        self._flights: dict[bytes, Flight] = {}

    def around(self, engine: Engine) -> Engine:
        """The engine behind this cache."""
        return CachedEngine(engine, self)

    def wants(self, request: Request) -> bool:
        """Whether the request takes part: as it asks, and without a word where its answer is determined."""
        return is_deterministic(request) if request.cached is None else request.cached

    async def generate(self, engine: Engine, request: Request) -> AsyncGenerator[Event]:
        """A request's events: stored ones, those of a generation that is under way, or of one that is begun for it.

        An engine whose answers can't be repeated is asked each time.
        """
        capabilities = engine.capabilities()
        if not capabilities.is_repeatable:
            self.results[CacheResult.BYPASS] += 1
            async with aclosing(engine.generate(request)) as events:
                async for event in events:
                    yield event
            return
        key = request_key(request, capabilities)
        answer = self.store.get(key)
        if answer is not None:
            self.results[CacheResult.HIT] += 1
            yield _own(answer.started, request, CacheResult.HIT)
            for delta in answer.deltas:
                yield delta
            yield answer.finished
            return
        flight = self._flights.get(key)
        result = CacheResult.MISS if flight is None else CacheResult.SHARED
        self.results[result] += 1
        if flight is None:
            # Who joins it may have more time, or none to keep to: each leaves at a deadline of its own, and the last one ends it.
            timeless = msgspec.structs.replace(request, deadline=None)
            flight = self._flights[key] = Flight(engine, timeless, lambda answer: self._landed(key, answer))
        async with aclosing(flight.subscribe()) as events:
            async for event in events:
                yield _own(event, request, result) if isinstance(event, Started) else event

    def _landed(self, key: bytes, answer: StoredAnswer | None) -> None:
        del self._flights[key]
        # What a cache inside this one gave was generated for another request.
        if answer is not None and answer.started.cache is None:
            self.store.put(key, answer)


def _own(started: Started, request: Request, result: CacheResult) -> Started:
    """What the answer to another request began with, as this one's. It waited in no queue where nothing was generated for it."""
    waited = started.queue_seconds if result is CacheResult.MISS else None
    return msgspec.structs.replace(
        started,
        request_id=request.id,
        model=request.model,
        queue_seconds=waited,
        cache=result.value if started.cache is None else started.cache,
    )


class CachedEngine(EngineAround):
    """``engine`` behind ``cache``."""

    def __init__(self, engine: Engine, cache: ResponseCache) -> None:
        super().__init__(engine)
        self._cache = cache

    def generate(self, request: Request) -> AsyncGenerator[Event]:
        if self._cache.wants(request):
            return self._cache.generate(self._engine, request)
        self._cache.results[CacheResult.BYPASS] += 1
        return self._engine.generate(request)
