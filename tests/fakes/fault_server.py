"""An upstream on raw sockets that fails in the way that a request's model names, and counts what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}


def http_chunk(data: bytes) -> bytes:
    """Data in HTTP's chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def sse(value: object) -> bytes:
    """An event, as a chunk of its own."""
    return http_chunk(b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n")


def text(content: str | None = None, reason: str | None = None, **more: Any) -> bytes:
    """A chunk of a chat's first choice."""
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return sse({"object": "chat.completion.chunk", "system_fingerprint": "fp_up", "choices": [choice], **more})


GOOD = [
    STREAM_HEAD,
    text(""),
    text("Hello"),
    text(" world"),
    text(reason="stop"),
    sse({"choices": [], "usage": USAGE}),
    sse(b"[DONE]"),
    END,
]


def answer(status: str, body: object = b"", *headers: str, kind: str = "application/json") -> bytes:
    """A whole answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(data)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


@dataclass
class Asked:
    """One request and its connection. ``tries`` is how often its prompt came, this time included."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    tries: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *parts: bytes, pause: float = 0.0) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            if pause:
                await asyncio.sleep(pause)

    async def until_left(self) -> None:
        """Wait until the client has gone."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        self.writer.transport.abort()


Mode = Callable[[Asked], Awaitable[None]]


async def good(asked: Asked) -> None:
    await asked.send(*GOOD)


async def good_at_once(asked: Asked) -> None:
    await asked.send(b"".join(GOOD))


async def stalls_before_headers(asked: Asked) -> None:
    await asked.until_left()


async def stalls_after_role(asked: Asked) -> None:
    await asked.send(STREAM_HEAD, text(""))
    while True:
        await asked.send(http_chunk(b": still here\n\n"), pause=0.02)


async def stalls_in_the_middle(asked: Asked) -> None:
    await asked.send(STREAM_HEAD, text("Hello"))
    while True:
        await asked.send(http_chunk(b": still here\n\n"), pause=0.02)


async def slow_first_token(asked: Asked) -> None:
    await asked.send(STREAM_HEAD)
    await asyncio.sleep(0.15)
    await asked.send(*GOOD[1:])


async def slow_bytes(asked: Asked) -> None:
    await asked.send(STREAM_HEAD)
    data = b"".join(GOOD[1:])
    await asked.send(*(data[place : place + 7] for place in range(0, len(data), 7)), pause=0.0001)


async def resets(asked: Asked) -> None:
    asked.reset()


async def resets_once(asked: Asked) -> None:
    await (resets if asked.tries == 1 else good)(asked)


async def resets_in_the_middle(asked: Asked) -> None:
    await asked.send(STREAM_HEAD, text("Hello"))
    await asyncio.sleep(0.01)
    asked.reset()


async def half_an_event(asked: Asked) -> None:
    await asked.send(STREAM_HEAD, text("")[:-20])
    asked.writer.close()


async def half_an_event_later(asked: Asked) -> None:
    await asked.send(STREAM_HEAD, text("Hello"), pause=0.01)
    await asked.send(text(" world")[:-20])
    asked.writer.close()


async def ends_without_finish(asked: Asked) -> None:
    await asked.send(STREAM_HEAD, text("Hello"), pause=0.01)
    await asked.send(sse(b"[DONE]"), END)


async def wrong_content_length(asked: Asked) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100000\r\n\r\n"
    await asked.send(head, b"data: {}\n\n")
    asked.writer.close()


async def wrong_chunk_size(asked: Asked) -> None:
    await asked.send(STREAM_HEAD, b"zz\r\ndata: {}\n\n\r\n")
    asked.writer.close()


async def no_http(asked: Asked) -> None:
    await asked.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    asked.writer.close()


async def limited_once(asked: Asked) -> None:
    if asked.tries == 1:
        await asked.send(answer("429 Too Many Requests", {"error": {"message": "slow down"}}, "retry-after: 0"))
    else:
        await good(asked)


async def limited(asked: Asked) -> None:
    await asked.send(answer("429 Too Many Requests", {"error": {"message": "slow down"}}, "retry-after: 0"))


async def limited_for_long(asked: Asked) -> None:
    await asked.send(answer("429 Too Many Requests", {"error": {"message": "slow down"}}, "retry-after: 60"))


async def no_quota(asked: Asked) -> None:
    error = {"message": "You exceeded your quota", "type": "insufficient_quota", "code": "insufficient_quota"}
    await asked.send(answer("429 Too Many Requests", {"error": error}))


async def fails(asked: Asked) -> None:
    await asked.send(answer("500 Internal Server Error", {"error": {"message": "oops"}}))


async def fails_once(asked: Asked) -> None:
    await (fails if asked.tries == 1 else good)(asked)


async def never_ends(asked: Asked) -> None:
    await asked.send(STREAM_HEAD)
    while True:
        await asked.send(text("more"), pause=0.001)


async def error_in_stream(asked: Asked) -> None:
    await asked.send(STREAM_HEAD, text("Hello"), pause=0.01)
    await asked.send(sse({"error": {"message": "engine died", "type": "server_error", "code": 500}}), END)


async def error_first_in_stream(asked: Asked) -> None:
    await asked.send(STREAM_HEAD, sse({"error": {"message": "too long", "code": "context_length_exceeded"}}), END)


async def oversized_event(asked: Asked) -> None:
    await asked.send(STREAM_HEAD)
    for _ in range(100):
        await asked.send(http_chunk(b"data: " + b"x" * 65536))


async def redirects(asked: Asked) -> None:
    await asked.send(answer("307 Temporary Redirect", b"", f"location: {asked.path}?again"))


async def not_json(asked: Asked) -> None:
    await asked.send(STREAM_HEAD, sse(b"hello"), END)


async def not_a_stream(asked: Asked) -> None:
    await asked.send(answer("200 OK", b"<html>welcome</html>", kind="text/html"))


async def deep_json(asked: Asked) -> None:
    await asked.send(STREAM_HEAD, sse(b'{"x":' + b"[" * 100_000), END)


async def other_choice(asked: Asked) -> None:
    await asked.send(STREAM_HEAD, sse({"choices": [{"index": 5, "delta": {"content": "Hello"}}]}), END)


async def no_usage(asked: Asked) -> None:
    await asked.send(*GOOD[:5], sse(b"[DONE]"), END)


async def no_usage_but_waits(asked: Asked) -> None:
    await asked.send(*GOOD[:5])
    await asked.until_left()


async def broken_after_the_end(asked: Asked) -> None:
    await asked.send(*GOOD[:5], pause=0.01)
    asked.reset()


async def no_usage_no_done(asked: Asked) -> None:
    await asked.send(*GOOD[:5], END)


async def refuses_key(asked: Asked) -> None:
    key = asked.headers.get("authorization", "")
    await asked.send(answer("401 Unauthorized", {"error": {"message": f"Incorrect API key: {key}"}}))


async def no_such_model(asked: Asked) -> None:
    await asked.send(answer("404 Not Found", {"error": {"message": "no such model", "code": "model_not_found"}}))


async def invalid(asked: Asked) -> None:
    key = asked.headers.get("authorization", "")
    error = {"message": f"bad top_p, said {key}", "type": "invalid_request_error", "param": "top_p", "code": None}
    await asked.send(answer("400 Bad Request", {"error": error}))


async def too_long(asked: Asked) -> None:
    message = "This model's maximum context length is 10 tokens."
    await asked.send(answer("400 Bad Request", {"object": "error", "message": message, "code": 400}))


MODES: dict[str, Mode] = {
    mode.__name__: mode
    for mode in (
        *(good, good_at_once, slow_first_token, slow_bytes, no_usage, no_usage_no_done),
        *(no_usage_but_waits, broken_after_the_end),
        *(stalls_before_headers, stalls_after_role, stalls_in_the_middle, never_ends),
        *(resets, resets_once, resets_in_the_middle, half_an_event, half_an_event_later, ends_without_finish),
        *(wrong_content_length, wrong_chunk_size, no_http, oversized_event, not_json, not_a_stream, deep_json),
        *(other_choice, limited_once, limited, limited_for_long, no_quota, fails, fails_once, redirects),
        *(error_in_stream, error_first_in_stream, refuses_key, no_such_model, invalid, too_long),
    )
}


@dataclass
class FaultServer:
    """Where it listens, how often each mode was asked for, and the connections that are open.

    ``models`` answers GET /v1/models.
    """

    port: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    tries: Counter[str] = field(default_factory=Counter)
    checks: int = 0
    last: Asked | None = None
    models: bytes = answer("200 OK", {"data": []})
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    busy: int = 0
    answering: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def until_closed(self, at_most: int = 0) -> None:
        """Wait until no more than so many connections are open."""
        async with asyncio.timeout(10):
            while len(self.open) > at_most:  # noqa: ASYNC110 (a count has no event)
                await asyncio.sleep(0.001)

    async def until_idle(self) -> None:
        """Wait until nothing is being answered."""
        async with asyncio.timeout(10):
            while self.busy:  # noqa: ASYNC110 (a count has no event)
                await asyncio.sleep(0.001)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.answering.add(task)
        self.open.add(writer)
        try:
            while not writer.is_closing():
                await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.open.discard(writer)
            self.answering.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        path = head[0].split()[1]
        self.busy += 1
        try:
            if head[0].startswith("GET"):
                self.checks += 1
                writer.write(self.models)
                await writer.drain()
                return
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            name = json.dumps(body.get("messages", body.get("prompt")))
            self.calls[body["model"]] += 1
            self.tries[name] += 1
            self.last = Asked(path, headers, body, self.tries[name], reader, writer)
            await MODES[body["model"]](self.last)
        finally:
            self.busy -= 1


@asynccontextmanager
async def fault_server() -> AsyncIterator[FaultServer]:
    """Run one."""
    found = FaultServer()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, backlog=1024)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for task in list(found.answering):
            task.cancel()
        if found.answering:
            await asyncio.wait(list(found.answering))
