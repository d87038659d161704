"""Hits that the connection answers by itself: however their bytes come in, and whatever else is asked with them."""

from __future__ import annotations

import asyncio
import json

import pytest
from fakes.live_server import LiveEngine, LiveServer, live_server
from fakes.scripted_engine import says

CACHE = {"max_bytes": 1 << 20}
PATH = "/v1/chat/completions"
BODY = json.dumps({"model": "scripted", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}).encode()


def counting() -> LiveEngine:
    engine = LiveEngine()
    engine.script = lambda request: says("Answer", f" {len(engine.left)}")
    return engine


def message(body: bytes = BODY, *, key: str = "a", lines: str = "") -> bytes:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{lines}\r\n"
    )
    return head.encode() + body


class Socket:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(5):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            return int(status.split()[1]), headers, await self._reader.readexactly(int(headers["content-length"]))

    async def ask(self, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.02)
        return await self.answer()


async def connect(server: LiveServer) -> Socket:
    url = server.url.removeprefix("http://")
    host, _, port = url.partition(":")
    return Socket(*await asyncio.open_connection(host, int(port)))


async def warmed(server: LiveServer) -> Socket:
    """A connection to a server that knows the bytes: a miss, then a hit that was read."""
    socket = await connect(server)
    for cache in ("miss", "hit"):
        assert (await socket.ask(message()))[1]["x-pennyweight-cache"] == cache
    return socket


async def test_a_request_in_pieces_is_answered_and_so_is_the_next_one_on_its_connection() -> None:
    async with live_server(counting(), response_cache=CACHE, http={"api_keys": ("a",)}) as server:
        socket = await warmed(server)
        whole = message()
        answers = [await socket.ask(whole[:at], whole[at:]) for at in (20, len(whole) - len(BODY), len(whole) - 5)]
        answers.append(await socket.ask(whole))
        assert {(status, headers["x-pennyweight-cache"]) for status, headers, _ in answers} == {(200, "hit")}
        contents = [json.loads(body)["choices"][0]["message"]["content"] for _, _, body in answers]
        assert contents == ["Answer 1"] * 4
        socket.writer.close()


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    other = BODY.replace(b"Hi", b"Ho")
    async with live_server(counting(), response_cache=CACHE, http={"api_keys": ("a",)}) as server:
        socket = await warmed(server)
        socket.writer.write(message() + message() + message(other) + message() + message(b"{") + message())
        answers = [await socket.answer() for _ in range(6)]
        assert [status for status, _, _ in answers] == [200, 200, 200, 200, 400, 200]
        assert [headers.get("x-pennyweight-cache") for _, headers, _ in answers] == [
            "hit",
            "hit",
            "miss",
            "hit",
            None,
            "hit",
        ]
        assert len({headers["x-request-id"] for _, headers, _ in answers}) == 6
        socket.writer.close()


@pytest.mark.parametrize(
    ("line", "status", "cache"),
    [
        ("Cache-Control: no-store", 200, "bypass"),
        ("x-pennyweight-timeout: soon", 400, None),
        ("Content-Encoding: gzip", 415, None),
        ("X-Request-Id: theirs", 200, "hit"),
    ],
)
async def test_a_header_that_says_something_is_heeded(line: str, status: int, cache: str | None) -> None:
    async with live_server(counting(), response_cache=CACHE, http={"api_keys": ("a",)}) as server:
        socket = await warmed(server)
        found, headers, _ = await socket.ask(message(lines=line + "\r\n"))
        assert (found, headers.get("x-pennyweight-cache")) == (status, cache)
        socket.writer.close()


async def test_a_wrong_key_is_refused_and_a_page_of_another_origin_gets_its_headers() -> None:
    http = {"api_keys": ("a",), "cors_origins": ("https://chat.example.com",)}
    async with live_server(counting(), response_cache=CACHE, http=http) as server:
        socket = await warmed(server)
        assert (await socket.ask(message(key="b")))[0] == 401
        _, headers, _ = await socket.ask(message(lines="Origin: https://chat.example.com\r\n"))
        assert headers["access-control-allow-origin"] == "https://chat.example.com"
        socket.writer.close()


async def test_a_connection_that_is_to_be_closed_is() -> None:
    async with live_server(counting(), response_cache=CACHE, http={"api_keys": ("a",)}) as server:
        socket = await warmed(server)
        _, headers, _ = await socket.ask(message(lines="Connection: close\r\n"))
        assert headers["connection"] == "close"
        async with asyncio.timeout(5):
            with pytest.raises(asyncio.IncompleteReadError):
                await socket.answer()
        socket.writer.close()
