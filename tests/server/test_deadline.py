"""Deadlines that clients set: in a header or the body, before the engine, in its queue, under way, and at an upstream."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from fakes.live_server import CHAT, LiveEngine, live_server
from fakes.scripted_engine import says

from pennyweight.server.deadline import until
from pennyweight.server.engines.base import TIMEOUT_HEADER
from pennyweight.server.errors import DeadlineExceeded

COMPLETION = {"model": "scripted", "prompt": "Hi"}
CALLS = [("/v1/chat/completions", CHAT), ("/v1/completions", COMPLETION)]


def never() -> LiveEngine:
    """An engine that says a word and then nothing."""
    return LiveEngine(script=lambda request: [says("Hello")[0], asyncio.Event()])


async def once(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110 (a list has no event)
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(("path", "body"), CALLS)
@pytest.mark.parametrize("by_header", [True, False])
async def test_an_answer_that_takes_too_long_ends_in_an_error_and_its_work_is_cancelled(
    path: str, body: dict[str, Any], by_header: bool
) -> None:
    async with live_server(never()) as server:
        headers = {TIMEOUT_HEADER: "0.1"} if by_header else {}
        fields = body if by_header else body | {"timeout": 0.1}
        async with server.client.post(path, json=fields, headers=headers) as answer:
            error = (await answer.json())["error"]
            assert answer.status == 408
            assert answer.headers["x-should-retry"] == "false"
        assert (error["type"], error["code"]) == ("timeout_error", "deadline_exceeded")
        await once(lambda: server.engine.left[0].closed)
        (line,) = await server.logged()
        assert line["error_code"] == "deadline_exceeded"
        async with server.client.get("/metrics") as answer:
            assert 'request_failure_total{code="deadline_exceeded",model_name="scripted"} 1.0' in await answer.text()


@pytest.mark.parametrize(("path", "body"), CALLS)
async def test_a_stream_that_takes_too_long_ends_in_an_error_event(path: str, body: dict[str, Any]) -> None:
    async with live_server(never()) as server:
        async with server.client.post(path, json=body | {"timeout": 0.1, "stream": True}) as answer:
            assert answer.status == 200
            *_, last, end = (await answer.read()).split(b"\n\n")
        assert end == b""
        assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "deadline_exceeded"
        await once(lambda: server.engine.left[0].closed)


async def test_expired_work_never_reaches_the_engine() -> None:
    async with live_server() as server:
        async with server.client.post("/v1/chat/completions", json=CHAT | {"timeout": 1e-9}) as answer:
            assert answer.status == 408
        assert server.engine.left == []


async def test_the_earlier_of_the_two_counts_and_one_that_is_kept_changes_nothing() -> None:
    async with live_server() as server:
        for header, field in (("60", 30), ("30", 60)):
            body = CHAT | {"timeout": field}
            async with server.client.post(
                "/v1/chat/completions", json=body, headers={TIMEOUT_HEADER: header}
            ) as answer:
                assert answer.status == 200
        for left in server.engine.left:
            deadline = left.request.deadline
            assert deadline is not None
            assert 25 < deadline - time.monotonic() <= 30


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", "1e300", "0x1"])
async def test_a_header_that_is_no_time_is_refused(value: str) -> None:
    async with live_server() as server:
        async with server.client.post("/v1/chat/completions", json=CHAT, headers={TIMEOUT_HEADER: value}) as answer:
            assert answer.status == 400
            assert (await answer.json())["error"]["param"] == TIMEOUT_HEADER
        assert server.engine.left == []


@pytest.mark.parametrize(("path", "body"), CALLS)
@pytest.mark.parametrize("value", [0, -1, "10", True, 1e300, [1]])
async def test_a_field_that_is_no_time_is_refused(path: str, body: dict[str, Any], value: object) -> None:
    async with live_server() as server, server.client.post(path, json=body | {"timeout": value}) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["param"] == "timeout"


async def test_one_prompt_of_several_that_is_late_ends_them_all() -> None:
    async with live_server(never()) as server:
        body = COMPLETION | {"prompt": ["a", "b", "c"], "timeout": 0.1}
        async with server.client.post("/v1/completions", json=body) as answer:
            assert answer.status == 408
        await once(lambda: all(left.closed for left in server.engine.left))
        assert len(server.engine.left) == 3


async def test_the_official_client_does_not_try_again() -> None:
    async with live_server(never()) as server:
        async with openai.AsyncOpenAI(api_key="x", base_url=f"{server.url}/v1", max_retries=2) as client:
            with pytest.raises(openai.APIStatusError) as raised:
                await client.chat.completions.create(
                    model="scripted", messages=[{"role": "user", "content": "Hi"}], extra_body={"timeout": 0.1}
                )
        assert raised.value.status_code == 408
        assert len(server.engine.left) == 1


async def test_who_shares_a_generation_keeps_to_a_deadline_of_its_own() -> None:
    go = asyncio.Event()
    engine = LiveEngine(script=lambda request: [go, *says("Hello")])
    body = CHAT | {"temperature": 0}
    async with live_server(engine, response_cache={"max_bytes": 1 << 20}) as server:

        async def ask(**fields: float) -> int:
            async with server.client.post("/v1/chat/completions", json=body | fields) as answer:
                await answer.read()
                return answer.status

        hasty = asyncio.create_task(ask(timeout=0.2))
        await once(lambda: bool(engine.left))
        patient = asyncio.create_task(ask())
        assert await hasty == 408
        assert not engine.left[0].closed
        go.set()
        assert await patient == 200
        assert len(engine.left) == 1
        # An answer that is there already is given at once.
        assert await ask(timeout=5.0) == 200


async def test_embeddings_keep_to_the_header_too() -> None:
    class Slow(LiveEngine):
        async def embed(self, request: Any) -> Any:
            await asyncio.sleep(60)

    async with live_server(Slow()) as server:
        body = {"model": "scripted", "input": "Hi"}
        async with server.client.post("/v1/embeddings", json=body, headers={TIMEOUT_HEADER: "0.1"}) as answer:
            assert answer.status == 408


async def test_a_block_ends_at_its_deadline_and_other_errors_are_their_own() -> None:
    with pytest.raises(DeadlineExceeded):
        async with until(time.monotonic() + 0.01):
            await asyncio.sleep(60)
    with pytest.raises(DeadlineExceeded):
        async with until(time.monotonic() - 1):
            pytest.fail("it is too late")
    with pytest.raises(TimeoutError, match="mine"):
        async with until(time.monotonic() + 60):
            raise TimeoutError("mine")
    async with until(None):
        await asyncio.sleep(0)
