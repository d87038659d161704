"""The client itself: what it sends when, from how many processes, and what it makes of failures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiohttp.test_utils import TestServer
from fakes.completion_server import CompletionServer
from fakes.fault_server import fault_server
from fakes.live_server import LiveEngine, live_server
from fakes.scripted_engine import says

from pennyweight.bench.load.complaints import complaints
from pennyweight.bench.load.endpoint import Api, Endpoint, base_url, find_endpoint, parse_api, parse_object
from pennyweight.bench.load.mode import ClosedLoop, OpenLoop
from pennyweight.bench.load.progress import Progress
from pennyweight.bench.load.request import PlannedRequest
from pennyweight.bench.load.run import drive, run_load
from pennyweight.bench.load.sample import BadAnswer
from pennyweight.bench.load.summary import summarise
from pennyweight.bench.load.vocabulary import ask_vocabulary

URL = "http://127.0.0.1:1"


@asynccontextmanager
async def listening(server: CompletionServer) -> AsyncIterator[Endpoint]:
    async with TestServer(server.app()) as running:
        yield Endpoint(str(running.make_url("")).rstrip("/"), "scripted")


def planned(endpoint: Endpoint, mode: OpenLoop | ClosedLoop, count: int, tokens: int = 3) -> list[PlannedRequest]:
    times = mode.times(count, 5) if isinstance(mode, OpenLoop) else [None] * count
    return [
        PlannedRequest(at=at, body=endpoint.body([number, 1, 2], tokens), output_tokens=tokens)
        for number, at in enumerate(times)
    ]


@pytest.mark.parametrize("processes", [0, 1, 2])
async def test_an_open_loop_sends_the_same_at_the_same_times_from_any_number_of_processes(processes: int) -> None:
    server, mode = CompletionServer(), OpenLoop(40.0)
    progress: list[Progress] = []
    async with listening(server) as endpoint:
        load = await drive(
            endpoint, planned(endpoint, mode, 20), mode, processes=processes, on_progress=progress.append
        )
    assert [sample.index for sample in load.samples] == list(range(20))
    assert [sample.scheduled for sample in load.samples] == mode.times(20, 5)
    assert {sample.error for sample in load.samples} == {None}
    assert all(0 <= sample.lag < 2 for sample in load.samples)
    # Those who are due close to each other may be read in another order.
    assert sorted(body["prompt"][0] for body in server.bodies) == list(range(20))
    assert load.client.processes == max(processes, 1)
    assert (progress[-1].done, progress[-1].planned, progress[-1].running, progress[-1].failed) == (20, 20, 0, 0)
    assert progress[-1].events >= 20 * 4


@pytest.mark.parametrize("processes", [0, 2])
async def test_a_closed_loop_keeps_its_concurrency_over_its_processes(processes: int) -> None:
    server, mode = CompletionServer(), ClosedLoop(3)
    async with listening(server) as endpoint:
        samples = await run_load(endpoint, planned(endpoint, mode, 18, 10), mode, processes=processes)
    assert server.most_running == 3
    assert [sample.index for sample in samples] == list(range(18))
    assert [sample.scheduled for sample in samples[:3]] == [0.0, 0.0, 0.0]
    ends = sorted(sample.ended for sample in samples)
    assert sorted(sample.scheduled for sample in samples[3:]) == pytest.approx(ends[:15])


async def test_a_closed_loop_ends_after_its_seconds() -> None:
    async with listening(CompletionServer()) as endpoint:
        mode = ClosedLoop(2, seconds=0.3)
        samples = await run_load(endpoint, planned(endpoint, mode, 10_000), mode)
    assert 2 < len(samples) < 1000
    assert max(sample.sent for sample in samples) < 1


async def test_a_limit_on_an_open_loop_holds_requests_back_without_blaming_the_client() -> None:
    server, mode = CompletionServer(), OpenLoop(float("inf"), max_concurrency=2)
    async with listening(server) as endpoint:
        samples = await run_load(endpoint, planned(endpoint, mode, 8, 10), mode)
        with pytest.raises(ValueError, match="take --processes 1"):
            await run_load(endpoint, planned(endpoint, mode, 8), mode, processes=2)
    assert server.most_running == 2
    last = max(samples, key=lambda sample: sample.sent)
    assert last.held > 0.04
    assert last.lag < last.held
    assert (last.ttft_scheduled or 0) > last.held


async def test_requests_that_wait_for_each_other_keep_their_order_and_their_history() -> None:
    engine = LiveEngine(script=lambda request: says("One", " two"))
    async with live_server(engine) as server:
        endpoint = await find_endpoint(server.url, api="chat")
        turns = [
            PlannedRequest(
                at=0.0, body=endpoint.body(text, 5, exact=False), session=session, think_time=0.1, output_tokens=2
            )
            for session in (0, 1)
            for text in (f"first {session}", f"second {session}")
        ]
        samples = await run_load(endpoint, turns, OpenLoop(1.0), keep_text=True)
    assert [sample.error for sample in samples] == [None] * 4
    assert samples[1].scheduled == pytest.approx(samples[0].ended + 0.1)
    assert samples[1].sent >= samples[1].scheduled
    assert {sample.text for sample in samples} == {"One two"}
    asked = [[(message.role, message.content) for message in left.request.prompt.messages] for left in engine.left]  # type: ignore[union-attr]
    assert [("user", "first 1"), ("assistant", "One two"), ("user", "second 1")] in asked


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("good", None),
        ("no_usage", None),
        ("fails", "http_5xx"),
        ("limited", "http_429"),
        ("invalid", "http_4xx"),
        ("redirects", "http_3xx"),
        ("resets", "reset"),
        ("resets_in_the_middle", "reset"),
        ("half_an_event", "reset"),
        ("no_http", "reset"),
        ("error_in_stream", "stream_error"),
        ("not_json", "bad_stream"),
        ("deep_json", "bad_stream"),
        ("not_a_stream", "incomplete"),
        ("no_usage_no_done", "incomplete"),
        ("stalls_before_headers", "timeout"),
        ("stalls_after_role", "timeout"),
        ("never_ends", "timeout"),
    ],
)
async def test_a_failure_has_its_kind_and_ends_nothing(mode: str, kind: str | None) -> None:
    async with fault_server() as server:
        endpoint = Endpoint(base_url(server.base_url), mode, "chat")
        good = msgspec.structs.replace(endpoint, model="good")
        requests = [PlannedRequest(body=one.body("Hi", 5)) for one in (good, endpoint, good)]
        samples = await run_load(endpoint, requests, ClosedLoop(1), request_seconds=0.5)
    assert [sample.error for sample in samples] == [None, kind, None]
    if kind is not None:
        assert samples[1].message
        assert summarise(samples).errors == {kind: 1}


async def test_nobody_listens() -> None:
    samples = await run_load(Endpoint(URL, "m"), [PlannedRequest(body={})], ClosedLoop(1))
    assert [sample.error for sample in samples] == ["connect"]


@pytest.mark.parametrize("api", ["completions", "chat"])
@pytest.mark.parametrize("stream", [True, False])
async def test_both_apis_with_and_without_streaming(api: Api, stream: bool) -> None:
    engine = LiveEngine(script=lambda request: says("One", " two", " three"))
    async with live_server(engine) as server:
        endpoint = await find_endpoint(server.url + "/v1/", api=api, stream=stream, extra_body={"temperature": 1})
        assert endpoint.body("Hi", 5)["temperature"] == 1
        [sample] = await run_load(endpoint, [PlannedRequest(body=endpoint.body("Hi", 5, exact=False))], ClosedLoop(1))
    assert (sample.error, sample.output_tokens, sample.is_counted) == (None, 3, True)
    assert sample.prompt_tokens > 0
    assert len(sample.arrivals) == (3 if stream else 0)
    assert (sample.ttft is not None) == stream


async def test_words_are_asked_of_a_server_that_has_no_such_path() -> None:
    async with listening(CompletionServer()) as endpoint:
        with pytest.raises(BadAnswer, match="name the model's tokenizer by --tokenizer"):
            await ask_vocabulary(endpoint)


async def test_a_slow_client_makes_its_run_invalid() -> None:
    """Something blocks the client's event loop for 0.2 s now and then."""

    async def block() -> None:
        while True:
            time.sleep(0.2)  # noqa: ASYNC251 (on purpose)
            await asyncio.sleep(0.1)

    mode = OpenLoop(30.0)
    async with listening(CompletionServer()) as endpoint:
        blocking = asyncio.create_task(block())
        load = await drive(endpoint, planned(endpoint, mode, 30), mode)
        blocking.cancel()
    summary = summarise(load.samples)
    found = list(complaints(load.samples, summary, load.client))
    assert [text.partition(":")[0] for text in found] == ["the client sent late", "the client read late"]
    assert summary.ttft_scheduled is not None
    assert summary.lag is not None
    assert summary.lag.p99 > 0.1


def test_addresses_and_apis_are_taken_as_users_write_them() -> None:
    assert base_url("http://a:1/v1/") == base_url("http://a:1/") == "http://a:1"
    assert [parse_api(text) for text in ("chat", "/v1/completions")] == ["chat", "completions"]
    with pytest.raises(ValueError, match="completions or chat, not embeddings"):
        parse_api("embeddings")
    assert parse_object('{"top_k": 1}') == {"top_k": 1}
    with pytest.raises(ValueError, match="must be a JSON object"):
        parse_object("[1]")
