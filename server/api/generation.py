"""Running requests on an engine for a call: observed, several at once, and turned into a stream of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from pennyweight.server.engines.base import Engine
from pennyweight.server.errors import PennyweightError
from pennyweight.server.types import Delta, Event, Finished, Request, Started

from . import sse
from .exchange import Headers, Observer, StreamAnswer

_MAX_AHEAD = 4


async def observed(engine: Engine, request: Request, observer: Observer) -> AsyncGenerator[Event]:
    """The events of one request, of which the observer is told first."""
    observer.submitted(request)
    is_over = False
    try:
        async with aclosing(engine.generate(request)) as events:
            async for event in events:
                match event:
                    case Delta():
                        observer.delta(request, event)
                    case Started():
                        observer.started(request, event)
                    case Finished():
                        is_over = True
                        observer.finished(request, event)
                yield event
    except Exception as error:
        if not is_over:
            is_over = True
            observer.failed(request, error)
        raise
    finally:
        if not is_over:
            observer.abandoned(request)


async def merged(engine: Engine, requests: Sequence[Request], observer: Observer) -> AsyncGenerator[tuple[int, Event]]:
    """The events of several requests as they come, each with its request's place in ``requests``.

    The first error ends them all.
    """
    if len(requests) == 1:
        async with aclosing(observed(engine, requests[0], observer)) as events:
            async for event in events:
                yield 0, event
        return
    queue: asyncio.Queue[tuple[int, Event | Exception | None]] = asyncio.Queue()
    # So much may each be ahead of a slow client; a bound on the queue would let one starve the others.
    ahead = [asyncio.Semaphore(_MAX_AHEAD) for _ in requests]

    async def pump(place: int) -> None:
        try:
            async with aclosing(observed(engine, requests[place], observer)) as events:
                async for event in events:
                    await ahead[place].acquire()
                    queue.put_nowait((place, event))
            queue.put_nowait((place, None))
        except Exception as error:
            queue.put_nowait((place, error))

    tasks = [asyncio.create_task(pump(place)) for place in range(len(requests))]
    try:
        running = len(tasks)
        while running:
            place, item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                running -= 1
            else:
                ahead[place].release()
                yield place, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stream_answer(chunks: AsyncGenerator[bytes], headers: Headers) -> StreamAnswer:
    """A stream whose first chunk is there. Raises what went wrong before it; what goes wrong later is sent as an event."""
    stream = _with_errors(chunks)
    # Runs the generator to the point from which closing it also closes what it reads from.
    await anext(stream)
    return StreamAnswer(chunks=stream, headers=sse.HEADERS + headers)


async def _with_errors(chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    is_open = False
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                if not is_open:
                    is_open = True
                    yield b""  # what stream_answer waits for
                yield chunk
    except PennyweightError as error:
        if not is_open:
            raise
        yield sse.error_event(error)
    except Exception:
        if is_open:
            yield sse.error_event(PennyweightError("The server failed at this request."))
        raise
