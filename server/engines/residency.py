"""Many models within one memory budget: loaded when a request comes for them, dropped or put to sleep for others least
recently used first."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pennyweight.server.config import ResidencySettings
from pennyweight.server.errors import InvalidRequest, ModelError, ModelUnavailable, Overloaded, ShuttingDown
from pennyweight.server.types import Embeddings, EmbedRequest, Event, Prompt, Request

from .base import Capabilities, EngineStats, Health, HealthState, Manageable

# How often it is looked whether a model has been idle for long enough, in seconds.
TICK_SECONDS = 0.5
# A model that could not be loaded is not tried again for so long: each try may cost others their place.
RETRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A model has been loaded, and how long it took: into free memory (``cold``), from sleep (``warm``), or after others had to
    make room (``swapped``)."""

    model: str
    seconds: float
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """A model takes no more requests: it was dropped, or sleeps at a level. ``seconds`` have passed since it was loaded."""

    model: str
    seconds: float
    level: int | None


class ResidentEngine:
    """An Engine and Leased: one model of a residency. Its requests are made inside of a lease.

    All methods belong to the event loop's thread.
    """

    def __init__(
        self, residency: Residency, name: str, engine: Manageable, *, pinned: bool, sleep_level: int | None
    ) -> None:
        self.name = name
        self.engine = engine
        self.pinned = pinned
        self.sleep_level = sleep_level
        self.is_loaded = False
        self.is_asleep = False
        self.is_leaving = False
        # An operator's wish to have it leave, and how far (see Leave.level); None while there is no such wish.
        self.unwanted: asyncio.Future[None] | None = None
        self.unwanted_level: int | None = None
        self.users = 0
        self.loaded_at = self.last_used = 0.0
        self.bytes = 0
        self.failure: ModelUnavailable | None = None
        self.retry_at = 0.0
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.loads: dict[str, tuple[int, float]] = dict.fromkeys(("cold", "warm", "swapped"), (0, 0.0))
        self._residency = residency

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[None]:
        await self._residency.enter(self)
        try:
            yield
        finally:
            self._residency.leave(self)

    async def start(self) -> None:
        """Load the model if it is pinned; others wait for their first request.

        One that can't be loaded takes no other down: ``health`` says why, and a request tries again after a while.
        """
        self._residency.start()
        if self.pinned:
            with contextlib.suppress(ModelUnavailable):
                await self.load()

    async def load(self) -> None:
        """Load the model now, if it isn't. Raises what ``lease`` raises."""
        async with self.lease():
            pass

    async def unload(self) -> None:
        """Drop the model now, once the requests under way have ended; further ones load it again."""
        await self._residency.dismiss(self, None)

    async def sleep(self, level: int) -> None:
        """Put the model to sleep now, once the requests under way have ended; further ones wake it.

        Raises InvalidRequest for a level that the engine doesn't have, ModelUnavailable when it failed at it: it is then dropped.
        """
        levels = self.engine.sleep_levels()
        if level not in levels:
            has = f"has the levels {', '.join(map(str, sorted(levels)))}" if levels else "can't sleep there: unload it"
            raise InvalidRequest(f"The model {self.name} {has}, as far as is known since its last load.", param="level")
        await self._residency.dismiss(self, level)

    def load_seconds(self) -> Mapping[str, tuple[int, float]]:
        return self.loads

    def generate(self, request: Request) -> AsyncGenerator[Event]:
        return self.engine.generate(request)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        return await self.engine.embed(request)

    def capabilities(self) -> Capabilities:
        return self.engine.capabilities()

    async def tokenize(self, prompt: Prompt) -> list[int]:
        return await self.engine.tokenize(prompt)

    async def detokenize(self, token_ids: list[int]) -> str:
        return await self.engine.detokenize(token_ids)

    def health(self) -> Health:
        if self.failure is not None and not self.is_loaded:
            return Health(state=HealthState.FAILED, detail=self.failure.message)
        health = self.engine.health()
        if self.pinned and not self.loaded_at and health.state is HealthState.UNLOADED:
            return Health(state=HealthState.LOADING, detail="waiting for its turn to be loaded")
        return health

    def stats(self) -> EngineStats:
        return self.engine.stats()

    async def aclose(self) -> None:
        await self._residency.aclose()
        await self.engine.aclose()


class Residency:
    """The budget and who has a place in it. One model is loaded at a time, in the order in which they were asked for.

    A model keeps its place for ``min_residence`` seconds at least, and answers until then whatever comes for it; after that, if
    others wait, it takes no more requests and goes when those under way have ended: first to sleep where it has a level for that,
    later for good. What models take is measured, once they are loaded and again whenever room is made: the most that was
    seen of each counts, of one that sleeps what it takes then.
    """

    def __init__(
        self,
        settings: ResidencySettings,
        *,
        on_load: Callable[[Load], None] = lambda load: None,
        on_leave: Callable[[Leave], None] = lambda leave: None,
    ) -> None:
        self._settings = settings
        self._on_load = on_load
        self._on_leave = on_leave
        self._models: list[ResidentEngine] = []
        self._wanted: deque[ResidentEngine] = deque()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def add(
        self, name: str, engine: Manageable, *, pinned: bool = False, sleep_level: int | None = None
    ) -> ResidentEngine:
        """One more model. A pinned one is loaded at the start and never dropped.

        One with a ``sleep_level`` is put to sleep where others are dropped, if its engine has that level.
        """
        resident = ResidentEngine(self, name, engine, pinned=pinned, sleep_level=sleep_level)
        self._models.append(resident)
        return resident

    def start(self) -> None:
        """Begin to look after the models; on the running event loop. May be called again."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep())

    async def aclose(self) -> None:
        """Load and drop nothing more; who waits gets ShuttingDown. May be called again."""
        self._is_closed = True
        for resident in self._models:
            self._refuse(resident, ShuttingDown("The server is shutting down."))
            if resident.unwanted is not None:
                resident.unwanted.set_exception(ShuttingDown("The server is shutting down."))
                resident.unwanted = None
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def enter(self, resident: ResidentEngine) -> None:
        """Count one more user of a loaded model, which is loaded first where it isn't.

        Raises Overloaded when too many wait for it already, ModelUnavailable with the reason when it can't be loaded.
        """
        if self._is_closed:
            raise ShuttingDown("The server is shutting down.")
        if resident.is_loaded and not resident.is_leaving:
            resident.users += 1
            return
        if resident.failure is not None and time.monotonic() < resident.retry_at:
            raise resident.failure
        if len(resident.waiting) >= self._settings.max_queue:
            raise Overloaded(
                f"{len(resident.waiting)} requests wait for the model {resident.name} to be loaded, which is the limit.",
                retry_after=1.0,
            )
        future = asyncio.get_running_loop().create_future()
        resident.waiting.append(future)
        if resident not in self._wanted:
            self._wanted.append(resident)
            self._changed.set()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.leave(resident)
            raise

    def leave(self, resident: ResidentEngine) -> None:
        """One user less."""
        resident.users -= 1
        resident.last_used = time.monotonic()
        self._changed.set()

    async def dismiss(self, resident: ResidentEngine, level: int | None) -> None:
        """Have a model put to sleep or (None) dropped, also a pinned one, in its turn among those that are to be loaded.

        Raises ModelUnavailable when it failed to fall asleep.
        """
        if self._is_closed:
            raise ShuttingDown("The server is shutting down.")
        if resident.unwanted is None:
            resident.unwanted = asyncio.get_running_loop().create_future()
        resident.unwanted_level = level
        self._changed.set()
        await asyncio.shield(resident.unwanted)

    async def _keep(self) -> None:
        while True:
            # Not wait_for, which in Python 3.11 forgets that it was cancelled when the event comes at the same time.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            while self._wanted:
                await self._serve(self._wanted[0])
                self._wanted.popleft()
            await self._dismiss_unwanted()

    async def _serve(self, resident: ResidentEngine) -> None:
        """Bring in a model that is wanted, and let in those who wait for it."""
        try:
            if not resident.is_loaded:
                await self._bring_in(resident)
        except Exception as error:  # whatever it is, it is this model's alone, and the others go on
            resident.retry_at = time.monotonic() + RETRY_SECONDS
            resident.failure = ModelUnavailable(
                f"The model {resident.name} could not be loaded: {error}", retry_after=RETRY_SECONDS
            )
            self._refuse(resident, resident.failure)
            return
        while resident.waiting:
            future = resident.waiting.popleft()
            if not future.done():
                resident.users += 1
                future.set_result(None)

    async def _bring_in(self, resident: ResidentEngine) -> None:
        began, was_asleep = time.monotonic(), resident.is_asleep
        has_swapped = await self._make_room(resident)
        resident.is_asleep = False  # a failed waking ends in unloading
        await resident.engine.load()
        resident.is_loaded, resident.failure = True, None
        resident.loaded_at = resident.last_used = time.monotonic()
        resident.bytes = resident.engine.resident_bytes()
        kind = "swapped" if has_swapped else "warm" if was_asleep else "cold"
        count, seconds = resident.loads[kind]
        resident.loads[kind] = count + 1, seconds + resident.loaded_at - began
        self._on_load(Load(model=resident.name, seconds=resident.loaded_at - began, kind=kind))
        await self._make_room(resident)  # it may have become larger than expected
        if self._used() > self._budget:
            await self._step_down(resident, None)
            raise ModelError(f"it takes {self._needed(resident)} bytes, of a budget of {self._budget}")

    async def _make_room(self, resident: ResidentEngine) -> bool:
        """Have others leave until the model fits beside them, as far as there are any; returns whether one left."""
        has_room_been_made = False
        while self._used(beside=resident) + self._needed(resident) > self._budget:
            victims = [
                one
                for one in self._models
                if (one.is_loaded or one.is_asleep) and not one.pinned and one is not resident
            ]
            if not victims:
                break
            # Those that answer nobody first, then the one that was asked last of all the longest ago.
            victim = min(victims, key=lambda one: (one.users > 0, one.last_used, one.name))
            if victim.is_loaded:
                await self._until_residence_is_over(victim)
            # One that fails to fall asleep has made room all the same.
            with contextlib.suppress(ModelError):
                await self._step_down(victim, _level_below(victim))
            has_room_been_made = True
        return has_room_been_made

    async def _until_residence_is_over(self, victim: ResidentEngine) -> None:
        left = victim.loaded_at + self._settings.min_residence - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)

    async def _step_down(self, victim: ResidentEngine, level: int | None) -> None:
        """Let nobody more in, wait for those inside, and put to sleep or (None) unload.

        Raises ModelError when it failed to fall asleep, and is unloaded.
        """
        victim.is_leaving = True
        while victim.users:
            self._changed.clear()
            await self._changed.wait()
        victim.is_asleep = False
        try:
            if level is None:
                await victim.engine.unload()
            else:
                await victim.engine.sleep(level)
                victim.is_asleep = True
        finally:
            victim.is_loaded = victim.is_leaving = False
        self._on_leave(Leave(model=victim.name, seconds=time.monotonic() - victim.loaded_at, level=level))

    async def _dismiss_unwanted(self) -> None:
        """Have those leave that an operator wants to leave, and those that have been idle for too long."""
        limit, now = self._settings.idle_timeout, time.monotonic()
        for resident in self._models:
            is_idle = not resident.pinned and not resident.users and not resident.waiting
            is_over = limit is not None and is_idle and now - resident.last_used >= limit
            wish = resident.unwanted
            level = resident.unwanted_level if wish is not None else _level_below(resident)
            failure = None
            if (resident.is_loaded and (wish is not None or is_over)) or (
                resident.is_asleep and wish is not None and level is None
            ):
                try:
                    await self._step_down(resident, level)
                except ModelError as error:
                    failure = ModelUnavailable(
                        f"The model {resident.name} failed to fall asleep and was dropped: {error}",
                        retry_after=RETRY_SECONDS,
                    )
            if wish is not None:
                resident.unwanted = None
                if failure is None:
                    wish.set_result(None)
                else:
                    wish.set_exception(failure)

    @property
    def _budget(self) -> int:
        return self._settings.memory_budget or (1 << 62)

    def _used(self, *, beside: ResidentEngine | None = None) -> int:
        """Bytes that the models take, all but ``beside``: loaded ones at the most that each was seen to take."""
        used = 0
        for resident in self._models:
            if resident.is_loaded:
                resident.bytes = max(resident.bytes, resident.engine.resident_bytes())
            if resident is not beside and resident.is_loaded:
                used += resident.bytes
            elif resident is not beside and resident.is_asleep:
                used += resident.engine.resident_bytes()
        return used

    def _needed(self, resident: ResidentEngine) -> int:
        return resident.bytes or resident.engine.expected_bytes()

    def _refuse(self, resident: ResidentEngine, error: Exception) -> None:
        while resident.waiting:
            future = resident.waiting.popleft()
            if not future.done():
                future.set_exception(error)


def _level_below(resident: ResidentEngine) -> int | None:
    """To which level of sleep a model goes when it must leave; None where it is dropped."""
    level = resident.sleep_level
    return level if resident.is_loaded and level in resident.engine.sleep_levels() else None
