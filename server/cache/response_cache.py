"""The response cache as an engine around an engine."""

from __future__ import annotations

import asyncio
import enum
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from pennyweight.server.config import ResponseCacheSettings
from pennyweight.server.engines.around import EngineAround
from pennyweight.server.engines.base import Capabilities, Engine
from pennyweight.server.types import CacheControl, Event, FinishReason, Request, Started

from .flight import Flight
from .key import request_key, takes_part
from .label import Label, Selection
from .result import CacheResult
from .second_level import SecondLevel
from .store import AnswerStore, Held, StoredAnswer, encode_answer


class Level(enum.StrEnum):
    """Where a kept answer was found."""

    MEMORY = "memory"
    STORE = "store"


class ResponseCache:
    """Answers that may be given again, and generations that are under way. One for a server: models and tenants are told apart by
    their keys. All methods belong to the event loop's thread.

    ``second`` is where they are kept beside the memory, if anywhere. Those whose time is over are kept for ``stale`` seconds more, and given
    only to who asks for such (``CacheControl.max_stale``). ``results`` counts requests by what was done for them, ``hits`` by where their
    answer was; ``on_hit`` is told the age of each.
    """

    def __init__(
        self,
        settings: ResponseCacheSettings,
        second: SecondLevel | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_hit: Callable[[float], None] = lambda age: None,
        stale: float = 0.0,
    ) -> None:
        self.store = AnswerStore(settings.max_bytes, settings.ttl, clock, stale)
        self._ttl = settings.ttl
        self.second = second
        self.results: Counter[CacheResult] = Counter()
        self.hits: Counter[Level] = Counter()
        self.on_hit = on_hit
        self._clock = clock
        self._flights: dict[bytes, Flight] = {}
        self._lookups: dict[bytes, asyncio.Task[Held | None]] = {}
        # All that are under way, also those that nobody may join.
        self._airborne: set[Flight] = set()
        self._purges = 0

    def around(self, engine: Engine) -> Engine:
        """The engine behind this cache."""
        return CachedEngine(engine, self)

    def wants(self, request: Request) -> bool:
        """Whether the request takes part: as it asks, and without a word where its answer is determined."""
        return takes_part(request)

    async def generate(self, engine: Engine, request: Request) -> AsyncGenerator[Event]:
        """A request's events: kept ones, those of a generation that is under way, or of one that is begun for it.

        An engine whose answers can't be repeated is asked each time.
        """
        asked, capabilities = request.cache, engine.capabilities()
        if not capabilities.is_repeatable:
            self.results[CacheResult.BYPASS] += 1
            async with aclosing(engine.generate(request)) as events:
                async for event in events:
                    yield event
            return
        key = request_key(request, capabilities)
        label = Label(request.tenant, capabilities.model, request.model)
        if not asked.no_cache:
            held = await self._find(key, label, asked)
            if held is not None:
                answer, result = held.answer, CacheResult.STALE if held.is_stale else CacheResult.HIT
                yield _own(answer.started, request, key, result, held.age)
                for delta in answer.deltas:
                    yield delta
                yield answer.finished
                return
        # Who asks for a kept answer because no model answers is not to wait for one.
        flight = None if asked.no_cache or asked.max_stale is not None else self._flights.get(key)
        if flight is not None and asked.max_age is not None and self._clock() - flight.began > asked.max_age:
            flight = None
        if flight is None and asked.only_if_cached:
            # An engine that would have to generate refuses it; others may not join that.
            async with aclosing(engine.generate(request)) as events:
                async for event in events:
                    yield event
            return
        result = CacheResult.MISS if flight is None else CacheResult.SHARED
        self.results[result] += 1
        if flight is None:
            # Who joins it may have more time, or none to keep to: each leaves at a deadline of its own, and the last one ends it.
            timeless = msgspec.structs.replace(request, deadline=None)
            flight = self._begin(engine, timeless, key, label, capabilities)
        async with aclosing(flight.subscribe()) as events:
            async for event in events:
                yield _own(event, request, key, result) if isinstance(event, Started) else event

    async def purge(self, selection: Selection) -> tuple[int, int | None]:
        """Forget what is selected, also where it is under way or being written; returns how many answers that were in
        memory, and in the store where there is one.

        Raises StoreFailed when the store could not be reached; the memory is then purged nevertheless.
        """
        self._purges += 1
        for flight in self._airborne:
            if selection.has(flight.key, flight.label):
                flight.is_kept = False
                if self._flights.get(flight.key) is flight:
                    del self._flights[flight.key]
        purged = self.store.purge(selection)
        return purged, None if self.second is None else await self.second.purge(selection)

    async def aclose(self) -> None:
        """Write what is still to be written, and close the store."""
        if self.second is not None:
            await self.second.aclose()

    async def _find(self, key: bytes, label: Label, asked: CacheControl) -> Held | None:
        """A kept answer that is young enough."""
        level = Level.MEMORY
        held = self._young(self.store.get(key, asked.max_stale or 0.0), asked)
        if held is None and self.second is not None and key not in self._flights:
            level = Level.STORE
            held = self._young(await self._look_further(key, label, self.second), asked)
        elif held is not None and self.second is not None:
            self.second.touch(key)
        if held is not None:
            self.count_hit(level, held.age, CacheResult.STALE if held.is_stale else CacheResult.HIT)
        return held

    def _young(self, held: Held | None, asked: CacheControl) -> Held | None:
        """The answer if it is young enough for the request, also by the time that each is given for."""
        if held is None or held.age >= self._ttl + (asked.max_stale or 0.0):
            return None
        return None if asked.max_age is not None and held.age > asked.max_age else held

    def count_hit(self, level: Level, age: float, result: CacheResult = CacheResult.HIT) -> None:
        """A kept answer is given."""
        self.results[result] += 1
        self.hits[level] += 1
        self.on_hit(age)

    async def _look_further(self, key: bytes, label: Label, second: SecondLevel) -> Held | None:
        """What the store has, looked up once for all who ask meanwhile."""
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = self._lookups[key] = asyncio.create_task(self._promote(key, label, second))
            lookup.add_done_callback(lambda _: self._lookups.pop(key))
        return await asyncio.shield(lookup)

    async def _promote(self, key: bytes, label: Label, second: SecondLevel) -> Held | None:
        purges = self._purges
        found = await second.find(key, label.tenant)
        if found is None or purges != self._purges:
            return None
        self.store.put(key, found.encoded, label, age=found.age)
        return Held(found.answer, found.age, found.age >= self._ttl)

    def _begin(self, engine: Engine, request: Request, key: bytes, label: Label, capabilities: Capabilities) -> Flight:
        def landed(flight: Flight, answer: StoredAnswer | None) -> None:
            self._airborne.discard(flight)
            if self._flights.get(key) is flight:
                del self._flights[key]
            # A model that was loaded for it may turn out to be another than was known when the key was made.
            if answer is not None and flight.is_kept and _version(engine.capabilities()) == _version(capabilities):
                self._keep(key, label, answer, request)

        flight = Flight(engine, request, key, label, self._clock(), landed)
        self._airborne.add(flight)
        self._flights.setdefault(key, flight)
        return flight

    def _keep(self, key: bytes, label: Label, answer: StoredAnswer, request: Request) -> None:
        reasons = [delta.finish_reason for delta in answer.deltas if delta.finish_reason is not None]
        # What an upstream's filter has cut is no whole answer, and what a cache inside this one gave was another request's.
        if (
            answer.started.cache is not None
            or len(reasons) != request.sampling.n
            or FinishReason.CONTENT_FILTER in reasons
        ):
            return
        encoded = encode_answer(answer)
        self.store.put(key, encoded, label)
        if self.second is not None:
            self.second.keep(key, label, encoded)


def _version(capabilities: Capabilities) -> tuple[str, str, str]:
    return capabilities.engine, capabilities.model, capabilities.fingerprint


def _own(started: Started, request: Request, key: bytes, result: CacheResult, age: float | None = None) -> Started:
    """What the answer to another request began with, as this one's. It waited in no queue where nothing was generated for it."""
    waited = started.queue_seconds if result is CacheResult.MISS else None
    return msgspec.structs.replace(
        started,
        request_id=request.id,
        model=request.model,
        queue_seconds=waited,
        cache=result.value if started.cache is None else started.cache,
        cache_key=key,
        cache_age=age,
        # How a kept answer came about is not how this request came by it.
        inputs={} if result is CacheResult.HIT else started.inputs,
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
