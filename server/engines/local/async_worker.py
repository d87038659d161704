"""What runs submissions in the process of an engine that lives on an event loop, as libraries' asynchronous ones do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol

import msgspec

from .link import Link
from .messages import Asleep, Embed, Embedded, Failed, Outputs, Progress, Ready, Sleep, Stats, Submit, ToEngine, Wake

SIGN_OF_LIFE_SECONDS = 0.5


class Sleeper(Protocol):
    """A library's engine that can give up memory while there is nothing to do. Both raise whatever the library raises."""

    async def sleep(self, level: int) -> None: ...

    async def wake(self) -> None: ...


class AsyncWorker:
    """Runs each choice of each submission as a task of its own. Everything here belongs to the event loop.

    ``generate`` is an asynchronous generator of one choice's progress, which closing cancels; what is wrong with a request it
    yields as progress with an error. ``embed`` gives all vectors of a request. ``stats`` tells what the engine is doing.
    ``ready`` is sent at the start and after each waking; ``sleeper`` is had where it names levels of sleep.
    """

    def __init__(
        self,
        link: Link,
        generate: Callable[[Submit, int], AsyncGenerator[Progress]],
        stats: Callable[[], Stats],
        *,
        ready: Ready,
        embed: Callable[[Embed], Awaitable[Embedded]] | None = None,
        sleeper: Sleeper | None = None,
    ) -> None:
        self._link = link
        self._generate = generate
        self._embed = embed
        self._stats = stats
        self._ready = ready
        self._sleeper = sleeper
        self._residence: asyncio.Task[None] | None = None
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._progress: list[Progress] = []
        self._told = time.monotonic()
        self._is_flushing = False

    def start(self) -> None:
        """Tell that the engine is ready, and take submissions from here on; on the running event loop."""
        self._link.send(self._ready)
        self._link.deliver_to(self._take)

    def on_step(self) -> None:
        """The engine has made a step: the server must hear of one now and then, also when no token came of it."""
        if not self._tasks or time.monotonic() - self._told > SIGN_OF_LIFE_SECONDS:
            self._flush_soon()

    def _take(self, message: ToEngine) -> None:
        if isinstance(message, Submit):
            for index in range(len(message.seeds)):
                task = asyncio.get_running_loop().create_task(self._run(message, index))
                self._tasks[message.request_id, index] = task
        elif isinstance(message, Embed):
            task = asyncio.get_running_loop().create_task(self._run_embedding(message))
            self._tasks[message.request_id, 0] = task
        elif isinstance(message, Sleep | Wake):
            self._residence = asyncio.get_running_loop().create_task(self._sleep_or_wake(message))
        else:
            for (request_id, index), task in self._tasks.items():
                if request_id == message.request_id and message.index in (None, index):
                    task.cancel()

    async def _run(self, submission: Submit, index: int) -> None:
        try:
            async with aclosing(self._generate(submission, index)) as found:
                async for progress in found:
                    self._add(progress)
        finally:
            del self._tasks[submission.request_id, index]
            if not self._tasks:
                self._flush_soon()  # no step may come that tells that the engine is idle

    async def _run_embedding(self, message: Embed) -> None:
        assert self._embed is not None, "only encoders are sent it"
        try:
            self._link.send(await self._embed(message))
        finally:
            del self._tasks[message.request_id, 0]
            if not self._tasks:
                self._flush_soon()

    async def _sleep_or_wake(self, message: Sleep | Wake) -> None:
        assert self._sleeper is not None, "only engines that name levels are sent it"
        try:
            if isinstance(message, Sleep):
                await self._sleeper.sleep(message.level)
                self._link.send(Asleep())
            else:
                await self._sleeper.wake()
                self._link.send(self._ready)
        except Exception as error:  # whatever the library raises; the server ends this process then
            self._link.send(Failed(f"{type(error).__name__}: {error}", is_permanent=False))

    def _add(self, progress: Progress) -> None:
        self._progress.append(progress)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            # Behind the other requests that the same step has brought on: one message for all of them.
            self._is_flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        progress, self._progress = self._progress, []
        self._is_flushing = False
        self._told = time.monotonic()
        stats = self._stats()
        if not self._tasks:
            stats = msgspec.structs.replace(stats, running=0, waiting=0, kv_cache_usage=0.0)
        self._link.send(Outputs(progress, stats))
