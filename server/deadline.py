"""When an answer is wanted at the latest: read off a request's header, kept while its call waits, and an engine around an engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from starlette.types import Scope

from .engines.around import EngineAround
from .engines.base import TIMEOUT_HEADER, Engine
from .errors import DeadlineExceeded, InvalidRequest
from .request_headers import header_of
from .types import Event, Request

# As the body's field takes it; longer than that nobody waits.
MOST_SECONDS = 2.0**31 - 1


def deadline_of(scope: Scope, arrival: float) -> float | None:
    """The deadline that the request's header sets, in seconds of ``time.monotonic()``. Raises InvalidRequest."""
    text = header_of(scope, TIMEOUT_HEADER.encode())
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= MOST_SECONDS:  # nor is NaN
        raise InvalidRequest(
            f"Invalid '{TIMEOUT_HEADER}': it must be a number of seconds above 0, such as 2.5.", param=TIMEOUT_HEADER
        )
    return arrival + seconds


@asynccontextmanager
async def until(deadline: float | None) -> AsyncIterator[None]:
    """A block that is cancelled at ``deadline`` (seconds of ``time.monotonic()``), and then raises DeadlineExceeded.

    One whose deadline has passed is not entered. Not to be held over a generator's ``yield``.
    """
    if deadline is None:
        yield
        return
    left = deadline - time.monotonic()
    if left <= 0:
        raise _exceeded()
    timeout = asyncio.timeout(left)
    try:
        async with timeout:
            yield
    except TimeoutError:
        if not timeout.expired():
            raise
        raise _exceeded() from None


class TimedEngine(EngineAround):
    """``engine``, whose work for a request is cancelled at the request's deadline."""

    def generate(self, request: Request) -> AsyncGenerator[Event]:
        if request.deadline is None:
            return self._engine.generate(request)
        return self._within(request, request.deadline)

    async def _within(self, request: Request, deadline: float) -> AsyncGenerator[Event]:
        async with aclosing(self._engine.generate(request)) as events:
            while True:
                async with until(deadline):
                    event = await anext(events, None)
                if event is None:
                    return
                yield event


def timed(engine: Engine) -> Engine:
    """The engine within its requests' deadlines."""
    return TimedEngine(engine)


def _exceeded() -> DeadlineExceeded:
    return DeadlineExceeded("The time that the request gave for its answer is over.")
