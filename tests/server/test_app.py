"""The application over a real socket: what every client meets, whatever the endpoint."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable

import openai
import pytest
from fakes.live_server import CHAT, LiveEngine, LiveServer, live_server
from fakes.scripted_engine import says
from prometheus_client.parser import text_string_to_metric_families

from pennyweight.server.config import HttpSettings, Settings
from pennyweight.server.engines.base import Capabilities, HealthState
from pennyweight.server.errors import EngineFailed
from pennyweight.server.pipeline import describe_pipeline
from pennyweight.server.types import Event, Request


@pytest.fixture
async def server() -> AsyncIterator[LiveServer]:
    async with live_server() as running:
        yield running


def waiting_engine() -> tuple[LiveEngine, asyncio.Event]:
    """An engine that says one word, and the rest once the event is set."""
    go = asyncio.Event()
    return LiveEngine(script=lambda request: [*says("one")[:-1], go, *says(" two")]), go


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 (what is waited for has no event)
        await asyncio.sleep(0.001)


async def test_the_official_client_gets_its_answer_and_its_request_id(server: LiveServer) -> None:
    async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="any") as client:
        answer = await client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "Hi"}])
    assert answer.choices[0].message.content == "Hello world"
    (line,) = await server.logged()
    assert answer._request_id == line["request_id"]


async def test_the_official_client_reads_a_stream(server: LiveServer) -> None:
    async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="any") as client:
        stream = await client.chat.completions.create(
            model="scripted", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(texts) == "Hello world"


async def test_a_request_is_logged_with_its_tokens_and_times_but_not_its_text(server: LiveServer) -> None:
    async with server.client.post("/v1/chat/completions", json=CHAT, headers={"X-Request-Id": "mine"}) as answer:
        assert answer.status == 200
    (line,) = await server.logged()
    assert line["client_request_id"] == "mine"
    assert (line["endpoint"], line["model"], line["status"]) == ("/v1/chat/completions", "scripted", 200)
    assert (line["prompt_tokens"], line["completion_tokens"], line["cached_tokens"]) == (8, 2, 1)
    assert line["finish_reasons"] == ["stop"]
    assert 0 < line["ttft"] <= line["e2e"]
    assert "Hello" not in server.output.getvalue()
    assert "Hi" not in server.output.getvalue()


async def test_prompts_and_answers_are_logged_where_asked_for() -> None:
    async with live_server(log={"prompts": True}) as server:
        async with server.client.post("/v1/chat/completions", json=CHAT) as answer:
            assert answer.status == 200
        (prompt,) = await server.logged("prompt")
        (choice,) = await server.logged("choice")
    assert prompt["prompt"]["messages"][0]["content"] == "Hi"
    assert choice["text"] == "Hello world"


@pytest.mark.parametrize("hostile", ['a"b\\', "x\ty", "é", "a" * 129, "\x1b[2J"])
async def test_a_request_id_that_is_not_plain_does_not_reach_the_log(server: LiveServer, hostile: str) -> None:
    head = b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: %b\r\n\r\n"
    await server.exchange(head % hostile.encode())
    if lines := server.log():
        (line,) = lines
        assert line.get("client_request_id") in (None, 'a"b\\')
    assert "\x1b" not in server.output.getvalue()


async def test_an_unknown_path_is_a_404_in_openai_s_shape(server: LiveServer) -> None:
    async with server.client.post("/v1/chat/completions/", json=CHAT) as answer:
        body = await answer.json()
    assert answer.status == 404
    assert body == {
        "error": {
            "message": "Invalid URL (POST /v1/chat/completions/).",
            "type": "invalid_request_error",
            "param": None,
            "code": "not_found",
        }
    }


async def test_a_wrong_method_is_a_405_that_names_the_right_one(server: LiveServer) -> None:
    async with server.client.get("/v1/chat/completions") as answer:
        body = await answer.json()
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert body["error"]["code"] == "method_not_allowed"
    async with server.client.post("/health") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


async def test_head_is_answered_where_get_is(server: LiveServer) -> None:
    async with server.client.head("/health") as answer:
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) > 0
        assert await answer.read() == b""


class TestKeys:
    """Who has none of the keys."""

    @pytest.fixture
    async def server(self) -> AsyncIterator[LiveServer]:
        async with live_server(http={"api_keys": ("sk-first", "sk-sécond")}) as running:
            yield running

    @pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer sk-other", "Basic sk-first", "sk-first"])
    async def test_is_refused(self, server: LiveServer, header: str | None) -> None:
        headers = {} if header is None else {"Authorization": header}
        async with server.client.post("/v1/chat/completions", json=CHAT, headers=headers) as answer:
            body = await answer.json()
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert body["error"]["code"] == "invalid_api_key"

    @pytest.mark.parametrize("header", ["Bearer sk-first", "bearer sk-first", "Bearer  sk-first "])
    async def test_is_not_who_has_one(self, server: LiveServer, header: str) -> None:
        headers = {"Authorization": header}
        async with server.client.post("/v1/chat/completions", json=CHAT, headers=headers) as answer:
            assert answer.status == 200

    async def test_may_have_one_beyond_ascii(self, server: LiveServer) -> None:
        body = json.dumps(CHAT).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer sk-sécond\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        assert (await server.exchange(head.encode() + body)).startswith(b"HTTP/1.1 200 ")

    @pytest.mark.parametrize("path", ["/health", "/ready", "/version", "/metrics"])
    async def test_may_probe(self, server: LiveServer, path: str) -> None:
        async with server.client.get(path) as answer:
            assert answer.status == 200

    async def test_learns_nothing_of_paths(self, server: LiveServer) -> None:
        async with server.client.get("/v1/nothing") as answer:
            assert answer.status == 401

    async def test_finds_none_in_the_log(self, server: LiveServer) -> None:
        headers = {"Authorization": "Bearer sk-first"}
        async with server.client.post("/v1/chat/completions", json=CHAT, headers=headers) as answer:
            assert answer.status == 200
        await server.logged()
        assert "sk-first" not in server.output.getvalue()


async def test_a_page_of_an_allowed_origin_may_read_answers_and_errors() -> None:
    async with live_server(http={"cors_origins": ("https://a.example",), "api_keys": ("k",)}) as server:
        preflight = {
            "Origin": "https://a.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        }
        async with server.client.options("/v1/chat/completions", headers=preflight) as answer:
            assert answer.status == 200
            assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
        headers = {"Origin": "https://a.example"}
        async with server.client.post("/v1/chat/completions", json=CHAT, headers=headers) as answer:
            assert answer.status == 401
            assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
            assert "x-request-id" in answer.headers["Access-Control-Expose-Headers"]
        headers = {"Origin": "https://b.example"}
        async with server.client.get("/health", headers=headers) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers


async def test_ready_only_when_every_engine_is() -> None:
    async with live_server(loaded=False) as server:
        async with server.client.get("/ready") as answer:
            assert answer.status == 503
            assert await answer.json() == {
                "status": "not ready",
                "models": {"scripted": {"state": "loading", "detail": "scripted"}},
            }
        async with server.client.get("/health") as answer:
            assert answer.status == 200
        server.engine.loaded.set()
        async with server.client.get("/ready") as answer:
            assert (answer.status, (await answer.json())["status"]) == (200, "ready")
        for state in set(HealthState) - {HealthState.READY}:
            server.engine.state = state
            async with server.client.get("/ready") as answer:
                assert answer.status == 503
                assert (await answer.json())["models"]["scripted"]["state"] == state


async def test_metrics_count_what_was_answered(server: LiveServer) -> None:
    for body in (CHAT, CHAT | {"stream": True}, CHAT | {"n": -1}):
        async with server.client.post("/v1/chat/completions", json=body) as answer:
            await answer.read()
    await server.logged(count=3)
    async with server.client.get("/metrics") as answer:
        text = await answer.text()
    values = {
        (
            sample.name.removeprefix("pennyweight:"),
            *(sample.labels[name] for name in sorted(sample.labels)),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["prompt_tokens_total", "scripted"] == 16
    assert values["generation_tokens_total", "scripted"] == 4
    assert values["request_success_total", "stop", "scripted"] == 2
    assert values["time_to_first_token_seconds_count", "scripted"] == 2
    assert values["inter_token_latency_seconds_count", "scripted"] == 2
    assert values["e2e_request_latency_seconds_count", "scripted"] == 2
    assert values["http_requests_total", "/v1/chat/completions", "POST", "200"] == 2
    assert values["http_requests_total", "/v1/chat/completions", "POST", "400"] == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away_cancels_its_request(stream: bool) -> None:
    engine, _ = waiting_engine()
    async with live_server(engine) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(raw_chat(stream=stream))
        if stream:
            await reader.readuntil(b'"one"')
        else:
            await until(lambda: bool(engine.left))
        writer.close()
        (line,) = await server.logged()
        assert engine.left[0].closed
        assert line["disconnected"] is True
        async with server.client.get("/metrics") as answer:
            text = await answer.text()
        assert 'pennyweight:request_success_total{finished_reason="abort",model_name="scripted"} 1.0' in text


async def test_a_client_with_a_second_request_in_the_pipe_cancels_both() -> None:
    engine, _ = waiting_engine()
    async with live_server(engine) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(raw_chat(stream=True) + raw_chat(stream=True))
        await reader.readuntil(b'"one"')
        writer.close()
        await server.logged()
        assert [left.closed for left in engine.left] == [True]


def raw_chat(*, stream: bool = False) -> bytes:
    body = json.dumps(CHAT | {"stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class BrokenEngine(LiveEngine):
    """An engine with a bug."""

    def capabilities(self) -> Capabilities:
        raise ZeroDivisionError("secret detail")

    def generate(self, request: Request) -> AsyncGenerator[Event]:
        raise ZeroDivisionError("secret detail")


async def test_a_bug_is_a_plain_500_to_the_client_and_a_traceback_in_the_log() -> None:
    async with live_server(BrokenEngine()) as server:
        async with server.client.post("/v1/chat/completions", json=CHAT) as answer:
            body = await answer.json()
        assert answer.status == 500
        assert (body["error"]["type"], body["error"]["code"]) == ("server_error", None)
        assert "secret" not in body["error"]["message"]
        (line,) = await server.logged("unexpected error")
        assert line["request_id"] == answer.headers["x-request-id"]
        assert "ZeroDivisionError: secret detail" in line["exception"]


async def test_an_engine_s_error_has_its_status_and_its_code_in_the_log() -> None:
    async with live_server(LiveEngine(refusal=lambda request: EngineFailed("No."))) as server:
        async with server.client.post("/v1/chat/completions", json=CHAT) as answer:
            assert answer.status == 500
        (line,) = await server.logged()
        assert (line["status"], line["error_code"], line["level"]) == (500, "engine_error", "warning")


async def test_the_pipeline_shows_every_station_and_no_key() -> None:
    lines = describe_pipeline(Settings(http=HttpSettings(api_keys=("sk-secret",))))
    assert [line.partition(":")[0] for line in lines] == [
        "connection",
        "cors",
        "auth",
        "admission",
        "recording",
        "router",
        "response cache",
        "overload",
        "semantic cache",
        "model smollm2-135m-instruct",
        "shutdown",
    ]
    assert "sk-secret" not in "".join(lines)
