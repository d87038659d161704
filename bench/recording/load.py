"""Many clients of one server, each of which asks anew once it is answered; and what each was told of its record."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Any

import aiohttp
import msgspec

from pennyweight.bench.load.sample import BadAnswer

from .served import MODEL

PATH = "/v1/chat/completions"
# So many answers to each prompt, one after the other: real traffic's prompts share their beginnings too, and that many tokens of prompts
# would take most of the time.
ASKED = 8


class Told(StrEnum):
    """What a client was told with its answer: its record had been written, or not in time; or it got no whole answer."""

    RECORDED = "recorded"
    UNRECORDED = "unrecorded"
    BROKEN = "broken"


class Answered(msgspec.Struct, frozen=True):
    """One request. ``id`` is None where the server was gone before it said any."""

    id: str | None
    told: Told
    tokens: int


def bodies(prompts: Sequence[Sequence[dict[str, Any]]], count: int, tokens: int) -> Iterator[dict[str, Any]]:
    """``count`` requests for at most so many tokens: half of them greedy, half drawn with no seed of the client's, and of each half whole."""
    for number in range(count):
        body: dict[str, Any] = {
            "model": MODEL,
            "messages": list(prompts[number // ASKED % len(prompts)]),
            "max_tokens": tokens,
            "temperature": number % 2,
        }
        if number % 4 > 1:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        yield body


class Load:
    """``streams`` clients that share what is to be asked of the server behind ``session``, until there is no more or it is gone.

    ``answered`` are all that were begun, in the order of their ends.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        wanted: Iterator[dict[str, Any]],
        streams: int,
        on_done: Callable[[], None],
    ) -> None:
        self.answered: list[Answered] = []
        self._session = session
        self._wanted = wanted
        self._streams = streams
        self._on_done = on_done

    async def run(self) -> None:
        """Raises BadAnswer for what isn't an answer, though the server is there."""
        async with asyncio.TaskGroup() as clients:
            for _ in range(self._streams):
                clients.create_task(self._client())

    async def _client(self) -> None:
        for body in self._wanted:
            found = await self._ask(body)
            self.answered.append(found)
            if found.told is Told.BROKEN:
                return
            self._on_done()

    async def _ask(self, body: dict[str, Any]) -> Answered:
        id = None
        try:
            async with self._session.post(PATH, json=body) as answer:
                id = answer.headers.get("x-request-id")
                data = await answer.read()
        except (aiohttp.ClientError, ConnectionError):
            return Answered(id, Told.BROKEN, 0)
        if answer.status != 200:
            raise BadAnswer(f"status {answer.status}: {data[:300].decode(errors='replace')}")
        told, tokens = (
            _of_stream(data) if "stream" in body else (answer.headers.get("x-pennyweight-recorded"), _tokens(data))
        )
        if told is None:
            return Answered(id, Told.UNRECORDED, tokens)
        return Answered(id, Told.RECORDED if told == "true" else Told.UNRECORDED, tokens)


def _tokens(data: bytes) -> int:
    tokens: int = json.loads(data)["usage"]["completion_tokens"]
    return tokens


def _of_stream(data: bytes) -> tuple[str | None, int]:
    """What a stream's last events say. Raises BadAnswer for one that has no end, though nothing broke."""
    events = data.split(b"\n\n")
    if events[-2:] != [b"data: [DONE]", b""]:
        raise BadAnswer(f"a stream ended without its end: {data[-200:].decode(errors='replace')}")
    told, tokens = None, 0
    for event in events[:-2]:
        chunk = json.loads(event.removeprefix(b"data: "))
        if usage := chunk.get("usage"):
            tokens = usage["completion_tokens"]
        if (own := chunk.get("pennyweight")) is not None and "recorded" in own:
            told = str(own["recorded"]).lower()
    return told, tokens
