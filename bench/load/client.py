"""One event loop's share of a load: it sends its sessions when they are due and makes samples of the answers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Protocol

import msgspec

from .answer import Answer, read_stream, read_whole
from .endpoint import Endpoint
from .loop_lag import LoopLag
from .mode import ClosedLoop, Mode, OpenLoop
from .progress import Progress
from .request import PlannedRequest
from .sample import Sample
from .transport import Exchange, Transport, connected

RECENT = 100


class Turnstile(Protocol):
    """Hands out the numbers 0, 1, 2, ... once each, to all clients of a load."""

    def __call__(self) -> int: ...


class ClientReport(msgspec.Struct, tag=True):
    """What a client brings back. ``cpu_seconds`` is what its process computed during the load; ``loop_lags`` are by how
    much its event loop was late at its regular checks, in seconds.
    """

    samples: list[Sample]
    cpu_seconds: float
    loop_lags: list[float]


class Client:
    """Sends sessions (lists of keys of ``requests``), and is to be run once."""

    def __init__(
        self,
        endpoint: Endpoint,
        requests: Mapping[int, PlannedRequest],
        sessions: Sequence[list[int]],
        mode: Mode,
        *,
        request_seconds: float,
        keep_text: bool = False,
    ) -> None:
        self._endpoint = endpoint
        self._requests = requests
        self._sessions = sessions
        self._mode = mode
        self._request_seconds = request_seconds
        self._keep_text = keep_text
        self._samples: list[Sample] = []
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._sent = 0
        self._failed = 0
        self._start = 0.0
        self._transport: Transport | None = None

    def progress(self) -> Progress:
        """How far it has come."""
        return Progress(
            sent=self._sent,
            done=len(self._samples),
            failed=self._failed,
            events=self._transport.events if self._transport else 0,
            ttft_p50=median(self._recent) if self._recent else None,
        )

    async def run(self, start: float, take: Turnstile, clients: int) -> ClientReport:
        """Run from ``start`` (on time.perf_counter()'s clock) until every answer has come.

        In a closed loop, ``clients`` of the load's clients are this one's, and ``take`` says which session is next. In an open
        loop all sessions that it was given are its own.
        """
        self._start = start
        async with connected(self._endpoint, self._request_seconds) as self._transport, LoopLag() as loop_lag:
            await self._until(0.0)
            began = time.process_time()
            if isinstance(self._mode, ClosedLoop):
                await self._closed(self._mode, take, clients)
            else:
                await self._open(self._mode)
            return ClientReport(self._samples, time.process_time() - began, loop_lag.seconds)

    async def _closed(self, mode: ClosedLoop, take: Turnstile, clients: int) -> None:
        async def client() -> None:
            free = 0.0
            while (number := take()) < len(self._sessions):
                if mode.seconds is not None and self._now() >= mode.seconds:
                    return
                free = await self._session(self._sessions[number], free, None)

        async with asyncio.TaskGroup() as running:
            for _ in range(min(clients, len(self._sessions))):
                running.create_task(client())

    async def _open(self, mode: OpenLoop) -> None:
        slots = asyncio.Semaphore(mode.max_concurrency) if mode.max_concurrency else None
        due = sorted(self._sessions, key=lambda session: self._requests[session[0]].at or 0.0)
        async with asyncio.TaskGroup() as running:
            for session in due:
                at = self._requests[session[0]].at or 0.0
                encoded = msgspec.json.encode(self._requests[session[0]].body)
                await self._until(at)
                running.create_task(self._session(session, at, slots, encoded))

    async def _session(
        self, session: list[int], scheduled: float, slots: asyncio.Semaphore | None, encoded: bytes | None = None
    ) -> float:
        """Send a session's turns, each after the answer before it; when the last one ended. A failed turn ends it."""
        history: list[dict[str, Any]] = []
        for index in session:
            request = self._requests[index]
            if history:
                scheduled += request.think_time
                await self._until(scheduled)
            if encoded is None or history:
                body = request.body
                if history:
                    body = body | {"messages": history + body["messages"]}
                encoded = msgspec.json.encode(body)
            text, sample = await self._request(index, encoded, scheduled, slots)
            scheduled = sample.ended
            if sample.error is not None:
                break
            if len(session) > 1:
                history += [*request.body["messages"], {"role": "assistant", "content": text}]
        return scheduled

    async def _request(
        self, index: int, body: bytes, scheduled: float, slots: asyncio.Semaphore | None
    ) -> tuple[str, Sample]:
        assert self._transport is not None
        held = 0.0
        if slots is not None and slots.locked():
            waiting = self._now()
            await slots.acquire()
            held = self._now() - waiting
        elif slots is not None:
            await slots.acquire()
        self._sent += 1
        try:
            exchange = await self._transport.exchange(body)
        finally:
            if slots is not None:
                slots.release()
        text, sample = self._sample(index, exchange, scheduled, held)
        self._samples.append(sample)
        self._failed += sample.error is not None
        if sample.ttft is not None:
            self._recent.append(sample.ttft)
        return text, sample

    def _sample(self, index: int, exchange: Exchange, scheduled: float, held: float) -> tuple[str, Sample]:
        """The answer's text, and its sample. It is read as soon as it has ended: what a server has sent is several times
        as large as what is kept of it.
        """
        answer = Answer()
        if exchange.error is None:
            answer = read_stream(exchange.reads) if self._endpoint.stream else read_whole(exchange.data)
        text = "".join(answer.texts)
        arrivals = tuple(time - self._start for time in answer.arrivals)
        planned = self._requests[index]
        counted = answer.output_tokens is not None
        prompt_tokens = answer.prompt_tokens if answer.prompt_tokens is not None else planned.prompt_tokens
        return text, Sample(
            index=index,
            scheduled=scheduled,
            sent=exchange.sent - self._start,
            ended=exchange.ended - self._start,
            held=held,
            first=arrivals[0] if arrivals else None,
            arrivals=arrivals,
            pieces=answer.pieces or (1,) * len(arrivals),
            prompt_tokens=prompt_tokens or 0,
            output_tokens=len(arrivals) if answer.output_tokens is None else answer.output_tokens,
            cached_tokens=answer.cached_tokens,
            is_counted=counted or exchange.error is not None or answer.error is not None,
            status=exchange.status,
            error=exchange.error or answer.error,
            message=exchange.message or answer.message,
            finish_reason=answer.finish_reason,
            model=answer.model,
            cache=exchange.cache,
            text=text if self._keep_text else None,
        )

    async def _until(self, at: float) -> None:
        """Wait until ``at``; not a moment less, though uvloop's timers go by whole milliseconds."""
        while (wait := at - self._now()) > 0:  # noqa: ASYNC110 (time has no event)
            await asyncio.sleep(wait)

    def _now(self) -> float:
        """Seconds from the load's start."""
        return time.perf_counter() - self._start
