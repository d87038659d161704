"""A client of the API's functions: it answers errors as the application does, and reads streams as an SDK does."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fakes.scripted_engine import ScriptedEngine, only

from pennyweight.server.api.exchange import (
    WARNING_HEADER,
    Answer,
    Call,
    Endpoint,
    Headers,
    NoObserver,
    Observer,
    StreamAnswer,
    error_answer,
)
from pennyweight.server.config import LimitSettings, Settings
from pennyweight.server.errors import PennyweightError

Body = Mapping[str, Any] | bytes

# The error object as OpenAI's schema has it: all four are required.
ERROR_NAMES = {"message", "type", "param", "code"}


@dataclass(frozen=True)
class Reply:
    """What a client has after reading all: the JSON of a whole answer, or the events of a stream."""

    status: int
    headers: Headers
    json: Any = None
    events: list[Any] = field(default_factory=list)
    is_done: bool = False

    @property
    def warning(self) -> str | None:
        """The warning header."""
        return next((value.decode() for name, value in self.headers if name == WARNING_HEADER), None)

    @property
    def error(self) -> dict[str, Any]:
        """The error object, checked for its form; that of the last event in a stream."""
        body = self.events[-1] if self.events else self.json
        assert body.keys() == {"error"}
        error: dict[str, Any] = body["error"]
        assert error.keys() == ERROR_NAMES
        assert isinstance(error["message"], str)
        assert error["message"]
        assert isinstance(error["type"], str)
        return error

    def chunks(self, index: int = 0) -> list[dict[str, Any]]:
        """The choices of that index in a stream's chunks."""
        return [choice for event in self.events for choice in event["choices"] if choice["index"] == index]

    def content(self, index: int = 0) -> str:
        """The joined content of a chat stream's choice."""
        return "".join(choice["delta"].get("content") or "" for choice in self.chunks(index))

    def text(self, index: int = 0) -> str:
        """The joined text of a plain completion stream's choice."""
        return "".join(choice["text"] for choice in self.chunks(index))


def make_call(
    body: Body,
    engine: ScriptedEngine | None = None,
    *,
    limits: LimitSettings | None = None,
    observer: Observer | None = None,
) -> Call:
    """A call as the application makes it."""
    return Call(
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        request_id="r1",
        arrival=1.0,
        settings=Settings(limits=limits or LimitSettings()),
        engines=only(engine or ScriptedEngine()),
        observer=observer or NoObserver(),
    )


async def answer_to(endpoint: Endpoint, call: Call) -> Answer | StreamAnswer:
    """The endpoint's answer, also to what it refuses."""
    try:
        return await endpoint(call)
    except PennyweightError as error:
        return error_answer(error)


async def ask(
    endpoint: Endpoint,
    body: Body,
    engine: ScriptedEngine | None = None,
    *,
    limits: LimitSettings | None = None,
    observer: Observer | None = None,
) -> Reply:
    """Send a body and read the whole answer."""
    answer = await answer_to(endpoint, make_call(body, engine, limits=limits, observer=observer))
    if isinstance(answer, Answer):
        return Reply(status=answer.status, headers=answer.headers, json=json.loads(answer.body))
    events, is_done = parse_events(await read_all(answer.chunks))
    return Reply(status=200, headers=answer.headers, events=events, is_done=is_done)


async def read_all(chunks: AsyncGenerator[bytes]) -> bytes:
    """The bytes of a whole stream."""
    async with aclosing(chunks):
        return b"".join([chunk async for chunk in chunks])


def parse_events(stream: bytes) -> tuple[list[Any], bool]:
    """The JSON of each event, and whether [DONE] came, after which nothing may."""
    blocks = stream.split(b"\n\n")
    assert blocks.pop() == b"", "the stream ends with a whole event"
    assert all(block.startswith(b"data: ") and b"\n" not in block for block in blocks)
    data = [block.removeprefix(b"data: ") for block in blocks]
    is_done = data[-1:] == [b"[DONE]"]
    return [json.loads(one) for one in (data[:-1] if is_done else data)], is_done
