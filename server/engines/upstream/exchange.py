"""What passes between the engine and its upstream: a request out, a stream of events back, each within its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from pennyweight.server.config import UpstreamSettings
from pennyweight.server.errors import UpstreamFailed, UpstreamTimeout
from pennyweight.server.types import Event

from .answer import Answer
from .event_stream import EventParser, EventTooLarge
from .failure import Failure, broken
from .refusal import failure_of_answer
from .session import EVENT_STREAM, Reply, Session
from .waits import Waits

MAX_ERROR_BYTES = 64 * 1024
MAX_JSON_BYTES = 16 * 1024 * 1024
# What the usage may take to come after the last choice has ended. Not every server sends one, or a [DONE].
USAGE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class JsonAnswer:
    """A whole answer, of any status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Exchange:
    """Talks to an upstream through ``session``, and waits by ``waits``. ``hide`` takes secrets out of a text."""

    def __init__(
        self, session: Session, waits: Waits, upstream: UpstreamSettings, *, hide: Callable[[str], str]
    ) -> None:
        self._session = session
        self._waits = waits
        self._upstream = upstream
        self._hide = hide

    async def ask(self, method: str, url: str, body: bytes | None = None, *, seconds: float) -> JsonAnswer:
        """A whole answer within ``seconds``. Raises Failure when there is none."""
        late = _late(f"The upstream did not answer within {seconds:g} s.")
        async with self._waits.until(_now() + seconds, late):
            reply = await self._session.ask(method, url, body)
            try:
                return JsonAnswer(reply.status, reply.headers, await reply.body(MAX_JSON_BYTES))
            finally:
                reply.close()

    async def stream(
        self, url: str, body: bytes, answer: Answer, *, seconds: float | None = None
    ) -> AsyncGenerator[Event]:
        """The events of ``answer`` up to the last delta; closing the generator ends the upstream's work.

        The upstream is told of the ``seconds`` that are left for the whole of it, if there is such a limit; whoever reads keeps to it.
        Raises Failure: of an answer that is no stream, of one that breaks off or tells of an error, or that is late.
        """
        limits = self._upstream
        late = _late(f"The upstream had no first token within {limits.first_token_timeout:g} s.")
        late_between = _late(f"The upstream had no next token within {limits.token_timeout:g} s.")
        when = _now() + limits.first_token_timeout
        async with self._waits.until(when, late):
            reply = await self._session.ask("POST", url, body, accept=EVENT_STREAM, seconds=seconds)
        try:
            if not reply.is_stream:
                async with self._waits.until(when, late):
                    raise await self._refusal(reply)
            parser = EventParser(limits.max_event_bytes)
            while not answer.is_over:
                if was_whole := answer.is_whole:
                    when = _now() + USAGE_SECONDS
                elif answer.progress.steps:
                    when, late = _now() + limits.token_timeout, late_between
                try:
                    async with self._waits.until(when, late):
                        events = await self._next_events(reply, parser, answer)
                except Failure:
                    if was_whole:
                        break  # only the usage is missing
                    raise
                for event in events:
                    yield event
            await reply.end()
        finally:
            reply.close()

    async def _next_events(self, reply: Reply, parser: EventParser, answer: Answer) -> list[Event]:
        """Read until the model has made a step. The upstream's comments and empty chunks are none."""
        events: list[Event] = []
        steps, was_whole = answer.progress.steps, answer.is_whole
        while not events and answer.progress.steps == steps and answer.is_whole == was_whole and not answer.is_over:
            if not (piece := await reply.piece()):
                answer.end()
                break
            try:
                found = parser.feed(piece)
            except EventTooLarge:
                limit = self._upstream.max_event_bytes
                raise broken(f"The upstream sent an event of more than {limit} bytes.") from None
            for data in found:
                events += answer.take(data)
        return events

    async def _refusal(self, reply: Reply) -> Failure:
        """What an answer is that is no stream."""
        body = await reply.body(MAX_ERROR_BYTES)
        if reply.status != 200:
            return failure_of_answer(reply.status, reply.headers, body, self._hide)
        message = "The upstream did not answer with a stream; for the operator: check base_url of the upstream."
        return Failure(UpstreamFailed(message), is_retryable=True, is_fault=True)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _late(message: str) -> Failure:
    """The failure of an upstream that may still be at work on the request, so that asking again would double that."""
    return Failure(UpstreamTimeout(message), is_fault=True)
