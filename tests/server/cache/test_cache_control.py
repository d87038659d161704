"""Cache-Control: what the header means, with the body's ``cache``, and what clients of a real server see of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fakes.live_server import LiveEngine, LiveServer, live_server
from fakes.scripted_engine import says
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.api.cache_control import MOST_SECONDS, read_cache_control, with_body
from pennyweight.server.errors import InvalidRequest
from pennyweight.server.types import CacheControl, Delta, FinishReason, Request

CACHE = {"max_bytes": 1 << 20}
CHAT: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}
OWN = re.compile(rb'"id":"[^"]*"|"created":\d+')


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("", CacheControl()),
        ("no-store", CacheControl(no_store=True)),
        ("No-Cache , ONLY-IF-CACHED", CacheControl(no_cache=True, only_if_cached=True)),
        ("max-age=60", CacheControl(max_age=60)),
        ('max-age="60"', CacheControl(max_age=60)),
        ("max-age=60, max-age=5, max-age=9", CacheControl(max_age=5)),
        (f"max-age={'9' * 5000}", CacheControl(max_age=MOST_SECONDS)),
        (",, ,no-store,", CacheControl(no_store=True)),
        ('private="x, no-store", community="U\\"CI", stale-if-error=5', CacheControl(stale_if_error=5)),
        ("max-stale, min-fresh=2, no-transform", CacheControl()),
        ("no-store-ever, xmax-age=1", CacheControl()),
    ],
)
def test_what_the_header_says(text: str, asked: CacheControl) -> None:
    assert read_cache_control(text) == asked


@pytest.mark.parametrize(
    "text",
    ["max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=x", "max-age=١", "no store", 'a="b', "=", "a;b"],
)
def test_what_is_not_of_its_grammar_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_cache_control(text)
    assert refused.value.param == "Cache-Control"


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_whatever_is_sent_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        read_cache_control(text)


@pytest.mark.parametrize(
    ("header", "body", "asked"),
    [
        ("", None, CacheControl()),
        ("", True, CacheControl(wanted=True)),
        ("", False, CacheControl(wanted=False, no_store=True)),
        ("no-store", True, CacheControl(wanted=True, no_store=True)),
        ("max-age=3", False, CacheControl(wanted=False, no_store=True, max_age=3)),
    ],
)
def test_of_header_and_body_the_stricter_counts(header: str, body: bool | None, asked: CacheControl) -> None:
    assert with_body(read_cache_control(header), body) == asked


class Reply:
    def __init__(self, answer: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = answer.status
        self.cache = answer.headers.get("x-pennyweight-cache")
        self.age = answer.headers.get("age")
        self.body = body

    @property
    def told(self) -> tuple[str | None, str]:
        return self.cache, json.loads(self.body)["choices"][0]["message"]["content"]


async def ask(
    server: LiveServer, control: str | None = None, *, path: str = "chat/completions", **changes: Any
) -> Reply:
    headers = {} if control is None else {"Cache-Control": control}
    body = (CHAT if path.startswith("chat") else {"model": "scripted", "prompt": "Hi", "temperature": 0}) | changes
    async with server.client.post(f"/v1/{path}", json=body, headers=headers) as answer:
        return Reply(answer, await answer.read())


def counting() -> LiveEngine:
    engine = LiveEngine()
    engine.script = lambda request: says("Answer", f" {len(engine.left)}")
    return engine


async def test_each_directive_over_http() -> None:
    async with live_server(counting(), response_cache=CACHE) as server:
        assert (await ask(server, "no-store")).told == ("bypass", "Answer 1")
        assert (await ask(server)).told == ("miss", "Answer 2")
        assert (await ask(server, "no-store")).told == ("bypass", "Answer 3")
        assert (await ask(server)).told == ("hit", "Answer 2")
        assert (await ask(server, "no-cache")).told == ("miss", "Answer 4")
        assert (await ask(server)).told == ("hit", "Answer 4")
        assert (await ask(server, "max-age=0")).told == ("miss", "Answer 5")
        assert (await ask(server, "max-age=60")).told == ("hit", "Answer 5")
        assert (await ask(server, "only-if-cached")).told == ("hit", "Answer 5")
        assert (await ask(server, "no-store", cache=True)).told == ("bypass", "Answer 6")
        assert (await ask(server, "max-age=60", cache=False)).told == ("bypass", "Answer 7")
        assert (await ask(server, "something-new=4")).told == ("hit", "Answer 5")
        refused = await ask(server, "max-age=soon")
        assert refused.status == 400
        assert json.loads(refused.body)["error"]["param"] == "Cache-Control"


@pytest.mark.parametrize("cache", [CACHE, {}])
@pytest.mark.parametrize("changes", [{}, {"stream": True}, {"path": "completions"}, {"cache": False}])
async def test_only_if_cached_without_an_answer_is_a_504_and_reaches_no_engine(
    cache: Mapping[str, Any], changes: Mapping[str, Any]
) -> None:
    async with live_server(counting(), response_cache=cache) as server:
        refused = await ask(server, "only-if-cached", **changes)
        assert refused.status == 504
        assert json.loads(refused.body)["error"]["code"] == "not_cached"
        assert not server.engine.left
        # It began nothing that another could have joined.
        assert (await ask(server, **changes)).status == 200


async def test_the_age_is_told_of_hits_alone_in_whole_seconds() -> None:
    async with live_server(counting(), response_cache=CACHE) as server:
        assert (await ask(server)).age is None
        assert (await ask(server)).age == "0"
        assert (await ask(server, "no-store")).age is None
        await asyncio.sleep(1.05)
        assert (await ask(server)).age == "1"
        assert (await ask(server, "max-age=1")).cache == "miss"


async def test_a_new_answer_is_not_one_that_is_under_way() -> None:
    go = asyncio.Event()
    engine = LiveEngine(script=lambda request: [go, *says("Hello")])
    async with live_server(engine, response_cache=CACHE) as server:
        asked = [asyncio.create_task(ask(server, one)) for one in (None, "no-cache", None, "max-age=600", "max-age=0")]
        async with asyncio.timeout(5):
            while len(engine.left) < 3:  # noqa: ASYNC110 (a list has no event)
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        go.set()
        replies = await asyncio.gather(*asked)
    assert sorted(str(one.cache) for one in replies) == ["miss", "miss", "miss", "shared", "shared"]
    assert len(engine.left) == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_of_several_prompts_the_one_that_took_the_most_is_told(stream: bool) -> None:
    async with live_server(counting(), response_cache=CACHE) as server:
        results = []
        for prompts in (["a", "b"], ["a", "b"], ["a", "c"], ["b", "a", "c"]):
            reply = await ask(server, path="completions", prompt=prompts, stream=stream)
            results.append((reply.cache, reply.age))
        assert results == [("miss", None), ("hit", "0"), ("miss", None), ("hit", "0")]
        assert len(server.engine.left) == 3


@pytest.mark.parametrize(
    ("reason", "cache"),
    [(FinishReason.STOP, "hit"), (FinishReason.LENGTH, "hit"), (FinishReason.CONTENT_FILTER, "miss")],
)
async def test_an_answer_at_its_limit_is_whole_and_a_filtered_one_is_not(reason: FinishReason, cache: str) -> None:
    engine = LiveEngine(script=lambda request: says("Hello", reason=reason))
    async with live_server(engine, response_cache=CACHE) as server:
        assert [(await ask(server)).cache for _ in range(2)] == ["miss", cache]


async def test_an_answer_that_lacks_a_choice_is_not_kept() -> None:
    def script(request: Request) -> list[Delta]:
        return [Delta(index=1, text="b", finish_reason=FinishReason.STOP), Delta(index=0, text="a")]

    async with live_server(LiveEngine(script=script), response_cache=CACHE) as server:
        await ask(server, n=2, stream=True)
        assert (await ask(server, n=2, stream=True)).cache == "miss"


async def test_tokens_that_are_given_again_are_not_counted_as_generated() -> None:
    async with live_server(counting(), response_cache=CACHE) as server:
        for _ in range(3):
            await ask(server)
        async with server.client.get("/metrics") as answer:
            metrics = await answer.text()
        assert 'pennyweight:generation_tokens_total{model_name="scripted"} 2.0' in metrics
        assert 'pennyweight:response_cache_tokens_total{kind="generation",model_name="scripted"} 4.0' in metrics
        assert 'pennyweight:response_cache_hits_total{level="memory"} 2.0' in metrics
        assert "pennyweight:response_cache_hit_age_seconds_count 2.0" in metrics


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
@pytest.mark.parametrize("key", [None, "0" * 64])
async def test_after_a_restart_the_stream_is_the_same_to_the_byte_but_for_ids_and_times(
    tmp_path: Path, path: str, key: str | None
) -> None:
    (tmp_path / "key").write_text("ab" * 32)
    cache = CACHE | {"store": f"sqlite:///{tmp_path}/answers.db", "key_file": key and str(tmp_path / "key")}
    options: dict[str, Any] = {"path": path, "stream": True, "stream_options": {"include_usage": True}}
    async with live_server(counting(), response_cache=cache) as server:
        first = await ask(server, **options)
    async with live_server(counting(), response_cache=cache | {"store_timeout": 5.0}) as server:
        second = await ask(server, **options)
        third = await ask(server, **options)
        assert (first.cache, second.cache, third.cache) == ("miss", "hit", "hit")
        assert OWN.sub(b"", first.body) == OWN.sub(b"", second.body) == OWN.sub(b"", third.body)
        assert not server.engine.left
        async with server.client.get("/metrics") as answer:
            metrics = await answer.text()
        assert 'pennyweight:response_cache_hits_total{level="store"} 1.0' in metrics
        assert 'pennyweight:response_cache_hits_total{level="memory"} 1.0' in metrics


async def test_a_store_that_is_not_there_is_of_no_concern_to_clients() -> None:
    cache = CACHE | {"store": "redis://127.0.0.1:1"}
    async with live_server(counting(), response_cache=cache) as server:
        assert [(await ask(server)).told for _ in range(2)] == [("miss", "Answer 1"), ("hit", "Answer 1")]
        for number in range(5):
            assert (await ask(server, seed=number)).status == 200
        assert len(server.log("response cache store is away")) == 1
