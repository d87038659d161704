"""The response cache over HTTP: what is given again, to whom, and what becomes of those who leave."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp
import pytest
from fakes.live_server import LiveEngine, LiveServer, live_server
from fakes.scripted_engine import says

from pennyweight.server.errors import EngineFailed
from pennyweight.server.types import Delta, Request

CACHE = {"max_bytes": 1 << 20}
CHAT: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}
# What differs between an answer and the same given again: ids and times.
OWN = re.compile(rb'"id":"[^"]*"|"created":\d+')


class Reply:
    def __init__(self, answer: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = answer.status
        self.cache = answer.headers.get("x-pennyweight-cache")
        self.key = answer.headers.get("x-pennyweight-cache-key")
        self.body = body

    @property
    def content(self) -> str:
        content: str = json.loads(self.body)["choices"][0]["message"]["content"]
        return content

    @property
    def without_own(self) -> bytes:
        return OWN.sub(b"", self.body)


async def ask(server: LiveServer, key: str | None = None, path: str = "chat/completions", **changes: Any) -> Reply:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    body = (CHAT if path.startswith("chat") else {"model": "scripted", "prompt": "Hi", "temperature": 0}) | changes
    async with server.client.post(f"/v1/{path}", json=body, headers=headers) as answer:
        return Reply(answer, await answer.read())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0.001)


def counting() -> LiveEngine:
    """An engine that says how often it was asked."""
    engine = LiveEngine()
    engine.script = lambda request: says("Answer", f" {len(engine.left)}")
    return engine


async def test_an_answer_says_by_what_key_it_is_known() -> None:
    async with live_server(counting(), response_cache=CACHE) as server:
        first, again, other = await ask(server), await ask(server), await ask(server, max_tokens=7)
        outside = await ask(server, cache=False)
        logged = [line.get("cache_key") for line in await server.logged(count=4)]
    assert first.key == again.key
    assert first.key != other.key
    assert [first.key, again.key, other.key, outside.key] == logged
    assert outside.key is None


async def test_the_same_again_reaches_no_engine() -> None:
    async with live_server(counting(), response_cache=CACHE) as server:
        replies = [await ask(server) for _ in range(3)]
        assert [one.cache for one in replies] == ["miss", "hit", "hit"]
        assert {one.content for one in replies} == {"Answer 1"}
        assert replies[0].without_own == replies[1].without_own
        assert len(server.engine.left) == 1
        assert [line.get("cache") for line in await server.logged(count=3)] == ["miss", "hit", "hit"]
        async with server.client.get("/metrics") as answer:
            metrics = await answer.text()
        assert 'pennyweight:response_cache_requests_total{result="hit"} 2.0' in metrics
        assert "pennyweight:response_cache_answers 1.0" in metrics


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
async def test_a_stream_given_again_is_the_same_to_the_byte_but_for_ids_and_times(path: str) -> None:
    async with live_server(counting(), response_cache=CACHE) as server:
        options = {"stream": True, "stream_options": {"include_usage": True}, "logprobs": None}
        first, second = [await ask(server, path=path, **options) for _ in range(2)]
        assert (first.cache, second.cache) == ("miss", "hit")
        assert first.body != second.body
        assert first.without_own == second.without_own
        # What was kept of a stream answers who wants it whole, and the other way about.
        assert (await ask(server, path=path)).cache == "hit"


@pytest.mark.parametrize(
    ("changes", "results"),
    [
        ({"temperature": 0.7}, ["bypass", "bypass"]),
        ({"temperature": None}, ["bypass", "bypass"]),
        ({"temperature": 0.7, "seed": 1}, ["miss", "hit"]),
        ({"temperature": 0.7, "cache": True}, ["miss", "hit"]),
        ({"cache": False}, ["bypass", "bypass"]),
    ],
)
async def test_what_takes_part(changes: Mapping[str, Any], results: Sequence[str | None]) -> None:
    async with live_server(counting(), response_cache=CACHE) as server:
        assert [(await ask(server, **changes)).cache for _ in range(2)] == results


async def test_without_memory_for_it_there_is_no_cache() -> None:
    async with live_server(counting()) as server:
        assert [(await ask(server)).content for _ in range(2)] == ["Answer 1", "Answer 2"]
        # Asked for where there is none, it changes nothing.
        assert (await ask(server, cache=True)).cache is None


async def test_no_answer_crosses_to_another_key() -> None:
    async with live_server(counting(), http={"api_keys": ("a", "b")}, response_cache=CACHE) as server:
        replies = [await ask(server, key) for key in ("a", "b", "a", "b")]
        assert [one.cache for one in replies] == ["miss", "miss", "hit", "hit"]
        assert [one.content for one in replies] == ["Answer 1", "Answer 2", "Answer 1", "Answer 2"]
        assert len({left.request.tenant for left in server.engine.left}) == 2


async def test_neither_does_a_generation_that_is_under_way() -> None:
    go = asyncio.Event()
    engine = LiveEngine(script=lambda request: [go, *says("Hello")])
    async with live_server(engine, http={"api_keys": ("a", "b")}, response_cache=CACHE) as server:
        asked = [asyncio.create_task(ask(server, key)) for key in "abab"]
        await until(lambda: len(engine.left) == 2)
        await asyncio.sleep(0.05)
        go.set()
        replies = await asyncio.gather(*asked)
        assert sorted(str(one.cache) for one in replies) == ["miss", "miss", "shared", "shared"]
        assert len(engine.left) == 2


async def test_five_hundred_at_once_are_one_generation() -> None:
    go = asyncio.Event()
    engine = LiveEngine(script=lambda request: [*says("Hello")[:1], go, *says(" world")])
    async with live_server(engine, response_cache=CACHE) as server:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(server.url, connector=connector) as client:

            async def one(stream: bool) -> tuple[str | None, bytes]:
                async with client.post("/v1/chat/completions", json=CHAT | {"stream": stream}) as answer:
                    return answer.headers.get("x-pennyweight-cache"), await answer.read()

            asked = [asyncio.create_task(one(number % 2 == 0)) for number in range(500)]
            await until(lambda: bool(engine.left))
            await asyncio.sleep(1.0)
            go.set()
            replies = await asyncio.gather(*asked)
    assert len(engine.left) == 1
    assert [cache for cache, _ in replies].count("miss") == 1
    assert {cache for cache, _ in replies} <= {"miss", "shared", "hit"}
    assert len({OWN.sub(b"", body) for _, body in replies}) == 2


async def test_who_leaves_does_not_end_it_for_the_others() -> None:
    go = asyncio.Event()
    engine = LiveEngine(script=lambda request: [go, *says("Hello")])
    async with live_server(engine, response_cache=CACHE) as server:
        first = asyncio.create_task(ask(server))
        await until(lambda: bool(engine.left))
        second = asyncio.create_task(ask(server))
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.wait((first,))
        await server.logged()
        assert not engine.left[0].closed
        go.set()
        reply = await second
        assert (reply.cache, reply.content) == ("shared", "Hello")
        assert (await ask(server)).cache == "hit"


async def test_the_last_to_leave_ends_it() -> None:
    engine = LiveEngine(script=lambda request: [asyncio.Event(), *says("Hello")])
    async with live_server(engine, response_cache=CACHE) as server:
        asked = [asyncio.create_task(ask(server)) for _ in range(3)]
        await until(lambda: bool(engine.left))
        await asyncio.sleep(0.05)
        for one in asked:
            one.cancel()
        await asyncio.wait(asked)
        await until(lambda: engine.left[0].closed)
        assert len(engine.left) == 1
        # Whoever comes now begins another.
        engine.script = lambda request: says("Again")
        assert (await ask(server)).content == "Again"


async def test_a_failure_is_told_to_all_and_not_kept() -> None:
    go = asyncio.Event()

    def script(request: Request) -> Sequence[Delta | Exception | asyncio.Event]:
        return says("Hello") if go.is_set() else [go, EngineFailed("No.")]

    async with live_server(LiveEngine(script=script), response_cache=CACHE) as server:
        asked = [asyncio.create_task(ask(server)) for _ in range(4)]
        await until(lambda: bool(server.engine.left))
        await asyncio.sleep(0.1)
        go.set()
        assert [one.status for one in await asyncio.gather(*asked)] == [500] * 4
        assert len(server.engine.left) == 1
        assert (await ask(server)).status == 200
        assert (await ask(server)).cache == "hit"


async def test_a_refusal_before_the_start_has_its_own_status() -> None:
    engine = LiveEngine(refusal=lambda request: EngineFailed("Not now."))
    async with live_server(engine, response_cache=CACHE) as server:
        assert [(await ask(server, stream=True)).status for _ in range(2)] == [500, 500]
        assert len(engine.left) == 2
