"""The same bytes asked again: given without being read, and the same in every respect as where they are read."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from fakes.live_server import LiveEngine, LiveServer, live_server
from fakes.scripted_engine import says
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.api.rendering import rendering_of
from pennyweight.server.cache.label import Label, Selection
from pennyweight.server.cache.store import AnswerStore
from pennyweight.server.types import Request

CACHE = {"max_bytes": 1 << 20}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0},
    "/v1/completions": {"model": "scripted", "prompt": "Hi", "temperature": 0},
}
OWN = re.compile(rb'"id":"[^"]*"|"created":\d+')


class Reply:
    def __init__(self, headers: dict[str, str], body: bytes) -> None:
        self.cache = headers.get("x-pennyweight-cache")
        self.id = headers["x-request-id"]
        kept = ("content-type", "x-pennyweight-warning", "cache-control", "age", "x-accel-buffering")
        self.headers = {name: headers.get(name) for name in kept}
        self.body = body


async def ask(server: LiveServer, path: str, key: str = "a", control: str | None = None, **changes: Any) -> Reply:
    headers = {"Authorization": f"Bearer {key}"} | ({} if control is None else {"Cache-Control": control})
    async with server.client.post(path, json=BODIES[path] | changes, headers=headers) as answer:
        assert answer.status == 200
        return Reply({name.lower(): value for name, value in answer.headers.items()}, await answer.read())


def counting() -> LiveEngine:
    engine = LiveEngine()
    engine.script = lambda request: says("Answer", f" {len(engine.left)}")
    return engine


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "changes",
    [{}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}, "n": 2}, {"n": 3}, {"odd": 1}],
)
async def test_a_shortcut_gives_what_reading_the_request_gives(path: str, changes: dict[str, Any]) -> None:
    async with live_server(counting(), response_cache=CACHE, http={"api_keys": ("a", "b")}) as server:
        replies = [await ask(server, path, **changes) for _ in range(4)]
        assert [one.cache for one in replies] == ["miss", "hit", "hit", "hit"]
        assert len({OWN.sub(b"", one.body) for one in replies}) == 1
        assert len({json.dumps(one.headers | {"age": None}) for one in replies}) == 1
        assert all(one.id.encode() in one.body for one in replies)
        assert len({one.id for one in replies}) == 4
        lines = await server.logged(count=4)
        differing = {"time", "ttft", "e2e", "cache_age", "request_id"}
        assert len({json.dumps({k: v for k, v in line.items() if k not in differing}) for line in lines[1:]}) == 1
        async with server.client.get("/metrics") as answer:
            metrics = await answer.text()
        choices = 4 * changes.get("n", 1)
        assert f'finished_reason="stop",model_name="scripted"}} {choices}.0' in metrics
        assert 'e2e_request_latency_seconds_count{model_name="scripted"} 4.0' in metrics
        assert 'time_to_first_token_seconds_count{model_name="scripted"} 4.0' in metrics
        assert 'response_cache_requests_total{result="hit"} 3.0' in metrics
        given = 3 * 2 * changes.get("n", 1)
        assert f'response_cache_tokens_total{{kind="generation",model_name="scripted"}} {given}.0' in metrics


@pytest.mark.parametrize("path", BODIES)
async def test_a_shortcut_is_one_tenant_s_and_one_path_s(path: str) -> None:
    async with live_server(counting(), response_cache=CACHE, http={"api_keys": ("a", "b")}) as server:
        for key, number in (("a", 1), ("a", 1), ("a", 1), ("b", 2), ("b", 2), ("b", 2), ("a", 1)):
            assert f"Answer {number}".encode() in (await ask(server, path, key)).body


async def test_a_shortcut_ends_with_the_answer_and_with_the_model_s_version() -> None:
    path = "/v1/chat/completions"
    async with live_server(counting(), response_cache=CACHE | {"ttl": 0.5}, http={"api_keys": ("a",)}) as server:
        assert [(await ask(server, path)).cache for _ in range(3)] == ["miss", "hit", "hit"]
        server.engine.model = "another version"
        assert [(await ask(server, path)).cache for _ in range(3)] == ["miss", "hit", "hit"]
        await asyncio.sleep(0.6)
        assert [(await ask(server, path)).cache for _ in range(3)] == ["miss", "hit", "hit"]
        assert (await ask(server, path, control="no-store")).cache == "bypass"
        assert (await ask(server, path, control="max-age=0")).cache == "miss"
        assert b"Answer 5" in (await ask(server, path)).body


async def test_a_call_of_several_prompts_has_none() -> None:
    def script(request: Request) -> Any:
        return says(str(request.prompt))

    async with live_server(LiveEngine(script=script), response_cache=CACHE, http={"api_keys": ("a",)}) as server:
        prompts = ["one", "two"]
        bodies = [(await ask(server, "/v1/completions", prompt=prompts)).body for _ in range(4)]
        assert len({OWN.sub(b"", one) for one in bodies}) == 1


@given(st.text(), st.integers(0, 10**10))
def test_an_answer_is_cut_at_its_own_id_alone_whatever_it_says(text: str, created: int) -> None:
    request_id, other = "0" * 31 + "a", "f" * 32
    fake = f'"id":"chatcmpl-{other}","object":"chat.completion","created":1'
    body = json.dumps({"x": text + fake}).encode()
    own = b'{"id":"chatcmpl-%b","object":"chat.completion","created":%d,' % (request_id.encode(), created)
    rendering = rendering_of(own + body[1:], request_id, (), is_stream=False)
    assert rendering is not None
    assert rendering.body(request_id, created) == own + body[1:]
    assert json.loads(rendering.body(other, 5)) == {
        "id": f"chatcmpl-{other}",
        "object": "chat.completion",
        "created": 5,
        "x": text + fake,
    }
    assert rendering_of(body, request_id, (), is_stream=False) is None


@given(st.lists(st.tuples(st.sampled_from("paxd"), st.integers(0, 3), st.integers(0, 3000)), max_size=40))
def test_what_is_attached_is_counted_and_goes_with_its_answer(steps: list[tuple[str, int, int]]) -> None:
    store = AnswerStore(12_000, 60.0, lambda: 1.0)
    for step, number, size in steps:
        key = number.to_bytes(32)
        match step:
            case "p":
                store.put(key, b"x" * size, Label("t", "m", "m"))
            case "a":
                store.attach(key, (number, size), "attached", size)
            case "x":
                found = store.attached((number, size))
                assert found is None or found[2] == key
            case _:
                store.purge(Selection(key=key))
        assert 0 <= store.nbytes <= 12_000
        assert all(key in store._entries for key in store._attached.values())
        assert sum(len(entry.attached or ()) for entry in store._entries.values()) == len(store._attached)
    store.purge(Selection())
    assert (store.nbytes, len(store), len(store._attached)) == (0, 0, 0)
