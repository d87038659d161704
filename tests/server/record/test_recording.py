"""Recording by the whole server: what comes over the socket is in the files before its answer has ended, or the answer says that it isn't."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import openai
import pytest
from fakes.live_server import CHAT, LiveEngine, LiveServer, live_server
from fakes.recordings import bytes_in, recorded_in
from fakes.scripted_engine import Script, logprob, says

from pennyweight.server.api import answer_types
from pennyweight.server.config import ModelSettings, RouterSettings, TemplateSettings, TenantSettings, TierSettings
from pennyweight.server.config_record import RecordSettings
from pennyweight.server.config_routing import HeaderTest, Rule
from pennyweight.server.errors import EngineFailed, InvalidRequest
from pennyweight.server.record.record import Record
from pennyweight.server.record.segment import CHECK_SECONDS
from pennyweight.server.record.writer import REASONS, Writer
from pennyweight.server.types import ChatPrompt, Delta, FinishReason, TextPrompt

GREEDY = CHAT | {"temperature": 0}
COMPLETION = {"model": "scripted", "prompt": "Hi", "temperature": 0}
CACHE = {"max_bytes": 1 << 20}


def recording(directory: Path, **changes: Any) -> dict[str, RecordSettings]:
    """Sections of the settings; records are waited for however busy the machine is."""
    return {"record": RecordSettings(**{"directory": str(directory), "write_timeout": 5.0} | changes)}


def scripted(script: Script | None = None) -> LiveEngine:
    engine = LiveEngine()
    if script is not None:
        engine.script = script
    return engine


async def ask(
    server: LiveServer, body: Mapping[str, Any] = GREEDY, path: str = "/v1/chat/completions", **headers: str
) -> tuple[aiohttp.ClientResponse, Any]:
    """The answer, read; the JSON of it, or of each event of a stream."""
    async with server.client.post(
        path, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    ) as answer:
        data = await answer.read()
    if answer.content_type != "text/event-stream":
        return answer, json.loads(data)
    assert data.endswith(b"\n\ndata: [DONE]\n\n")
    return answer, [json.loads(one.removeprefix(b"data: ")) for one in data.split(b"\n\n")[:-2]]


async def metric(server: LiveServer, name: str) -> float:
    async with server.client.get("/metrics") as answer:
        text = await answer.text()
    return sum(
        float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"pennyweight:record_{name}")
    )


async def until_recorded(directory: Path, count: int) -> list[Record]:
    while len(found := recorded_in(directory)) < count:  # noqa: ASYNC110 (a file has no event)
        await asyncio.sleep(0.005)
    return found


async def test_a_whole_answer_is_in_the_file_when_it_comes(tmp_path: Path) -> None:
    def script(request: Any) -> list[Delta]:
        return [
            Delta(index=0, text="Hel", token_ids=(7,), logprobs=(logprob("H"),), logits_hashes=b"01234567"),
            Delta(
                index=0, text="lo", token_ids=(8, 9), logprobs=(logprob("l", float("-inf")),), logits_hashes=bytes(16)
            ),
            Delta(index=0, text="", finish_reason=FinishReason.STOP, stop_reason="."),
        ]

    async with live_server(scripted(script), sections=recording(tmp_path)) as server:
        began = time.time()
        body = {**GREEDY, "stop": ["."], "user": "someone"}
        answer, _ = await ask(
            server, body, x_pennyweight_timeout="30", authorization="Bearer very-secret", user_agent="me"
        )
        (found,) = recorded_in(tmp_path)
        assert answer.headers["x-pennyweight-recorded"] == "true"
        assert found.id == answer.headers["x-request-id"]
        assert abs(found.arrival - began) < 5
        assert (found.endpoint, json.loads(found.received or "")) == ("/v1/chat/completions", body)
        assert found.headers == {"x-pennyweight-timeout": "30"}
        assert b"very-secret" not in bytes_in(tmp_path)
        request = found.request
        assert isinstance(request.prompt, ChatPrompt)
        assert (request.prompt.messages[0].content, request.sampling.stop, request.deadline) == ("Hi", (".",), 30.0)
        assert (request.arrival, request.is_recorded, found.seed) == (0.0, False, None)
        assert bytes(found.prompt_token_ids) == b"user:Hi\n"
        (choice,) = found.choices
        assert (choice.text, choice.token_ids, choice.logits_hashes) == ("Hello", (7, 8, 9), b"01234567" + bytes(16))
        assert (choice.logprobs, choice.finish_reason, choice.stop_reason) == ((-0.5, -9999.0), "stop", ".")
        assert (found.model, found.manifest, found.error) == ("scripted", "fp_scripted", None)
        assert found.usage is not None
        assert found.usage.completion_tokens == 3
        assert found.times.first_token is not None
        assert found.times.finished is not None
        assert 0 < found.times.first_token <= found.times.finished < 5
        assert (await server.logged())[0]["recorded"] == "true"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}], ids=["plain", "usage"])
@pytest.mark.parametrize("n", [1, 3])
async def test_the_last_event_of_a_stream_says_so(tmp_path: Path, path: str, options: dict[str, Any], n: int) -> None:
    body = (GREEDY if "chat" in path else COMPLETION) | options | {"stream": True, "n": n}
    shape = answer_types.ChatCompletionChunk if "chat" in path else answer_types.Completion
    async with live_server(sections=recording(tmp_path)) as server, live_server() as other:
        answer, events = await ask(server, body, path)
        _, plain = await ask(other, body, path)
    assert answer.headers["x-pennyweight-recorded"] == "pending"
    assert [event.get("pennyweight") for event in events] == [None] * (len(events) - 1) + [{"recorded": True}]
    for event in events:
        msgspec.convert(event, shape)
        event.pop("pennyweight", None)
    own = {"id", "created"}
    assert [event | dict.fromkeys(own) for event in events] == [event | dict.fromkeys(own) for event in plain]
    (found,) = recorded_in(tmp_path)
    assert [choice.text for choice in found.choices] == ["Hello world"] * n


async def test_the_record_is_written_before_the_last_event_is_sent(tmp_path: Path) -> None:
    async with live_server(sections=recording(tmp_path)) as server:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
        async for event in await client.chat.completions.create(**GREEDY, stream=True):
            told = (event.model_extra or {}).get("pennyweight")
            if told is not None:
                assert event.choices[0].finish_reason == "stop"
                assert len(recorded_in(tmp_path)) == 1
        assert told == {"recorded": True}
        await client.close()


async def test_each_prompt_of_a_call_has_a_record(tmp_path: Path) -> None:
    async with live_server(sections=recording(tmp_path)) as server:
        answer, _ = await ask(server, COMPLETION | {"prompt": ["one", "two"]}, "/v1/completions")
        first, second = sorted(recorded_in(tmp_path), key=lambda one: one.id)
        assert [one.id for one in (first, second)] == [f"{answer.headers['x-request-id']}-{place}" for place in (0, 1)]
        assert [one.request.prompt for one in (first, second)] == [TextPrompt(text="one"), TextPrompt(text="two")]
        assert sorted(one.received is None for one in (first, second)) == [False, True]


async def test_what_fails_is_recorded_too(tmp_path: Path) -> None:
    def script(request: Any) -> list[Any]:
        return [*says("Hel")[:-1], EngineFailed("broken")]

    engine = scripted(script)
    async with live_server(engine, sections=recording(tmp_path)) as server:
        answer, _ = await ask(server)
        assert answer.status == 500
        assert "x-pennyweight-recorded" not in answer.headers
        (failed,) = await until_recorded(tmp_path, 1)
        assert (failed.error, failed.choices[0].text, failed.usage) == ("engine_error", "Hel", None)
        engine.refusal = lambda request: InvalidRequest("no", param="messages")
        await ask(server)
        refused = (await until_recorded(tmp_path, 2))[1]
        assert (refused.error, refused.model, refused.manifest, refused.choices) == ("invalid_value", "", "", ())


async def test_what_its_client_leaves_is_recorded_as_far_as_it_came(tmp_path: Path) -> None:
    gate = asyncio.Event()
    engine = scripted(lambda request: [*says("Hel")[:-1], gate, *says("lo")])
    async with live_server(engine, sections=recording(tmp_path)) as server:
        async with server.client.post("/v1/chat/completions", json=GREEDY | {"stream": True}) as answer:
            await answer.content.readuntil(b"Hel")
        (found,) = await until_recorded(tmp_path, 1)
        assert (found.error, found.choices[0].text, found.choices[0].finish_reason) == ("cancelled", "Hel", None)
        assert engine.left[0].closed


async def test_kept_answers_are_recorded_with_what_they_follow_from(tmp_path: Path) -> None:
    engine = scripted()
    async with live_server(engine, response_cache=CACHE, sections=recording(tmp_path)) as server:
        replies = [(await ask(server, GREEDY | {"stream": stream}))[0] for stream in (False, False, True, True)]
        assert [one.headers["x-pennyweight-cache"] for one in replies] == ["miss", "hit", "hit", "hit"]
        assert len(engine.left) == 1
        found = recorded_in(tmp_path)
        assert [one.cache for one in found] == ["miss", "hit", "hit", "hit"]
        assert len({one.cache_key for one in found}) == 1
        assert found[0].inputs == {}
        assert all(one.inputs["cache"]["age"] >= 0 for one in found[1:])
        assert len({one.choices for one in found}) == 1


async def test_a_request_without_a_seed_gets_one_that_is_recorded_and_changes_nothing_else(tmp_path: Path) -> None:
    engine = scripted()
    bodies = [CHAT, CHAT, CHAT | {"seed": 5}, CHAT | {"cache": True}, CHAT | {"cache": True}, GREEDY]
    async with live_server(engine, response_cache=CACHE, sections=recording(tmp_path)) as server:
        caches = [(await ask(server, body))[0].headers["x-pennyweight-cache"] for body in bodies]
        found = recorded_in(tmp_path)
    assert caches == ["bypass", "bypass", "miss", "miss", "hit", "miss"]
    seeds = [one.seed for one in found]
    asked = [left.request.sampling.seed for left in engine.left]
    assert seeds[:4] == asked[:4]
    assert seeds[0] != seeds[1]
    assert None not in seeds[:5]
    # The kept answer follows from the seed that was drawn when it was made.
    assert (seeds[2], seeds[4], seeds[5], asked[4]) == (5, seeds[3], None, None)
    assert [one.request.sampling.seed for one in found] == [None, None, 5, None, None, None]


async def test_recording_is_for_those_who_are_named(tmp_path: Path) -> None:
    keys = {name: TenantSettings(api_keys=(f"sha256:{hashlib.sha256(name.encode()).hexdigest()}",)) for name in "ab"}
    sections = recording(tmp_path, tenants=("a",)) | {"tenants": keys}
    async with live_server(sections=sections, response_cache=CACHE) as server:
        for name in "abab":
            answer, _ = await ask(server, authorization=f"Bearer {name}")
            assert ("x-pennyweight-recorded" in answer.headers) is (name == "a")
        assert [one.tenant for one in recorded_in(tmp_path)] == ["a", "a"]
        _, events = await ask(server, GREEDY | {"stream": True}, authorization="Bearer b")
        assert all("pennyweight" not in event for event in events)


async def test_a_share_is_drawn_by_the_request_s_id(tmp_path: Path) -> None:
    async with live_server(sections=recording(tmp_path, share=0.3)) as server:
        answers = [(await ask(server))[0].headers for _ in range(60)]
        recorded = {one["x-request-id"] for one in answers if one.get("x-pennyweight-recorded") == "true"}
        assert {one.id for one in recorded_in(tmp_path)} == recorded
    below = {
        one["x-request-id"]
        for one in answers
        if int.from_bytes(hashlib.sha256(one["x-request-id"].encode()).digest()[:8], "big") < 0.3 * 2**64
    }
    assert recorded == below
    assert 0 < len(recorded) < 60


async def test_a_routed_request_is_recorded_with_its_decision(tmp_path: Path) -> None:
    text = TemplateSettings(text="x")  # stands for a model's settings alone; the engines are given
    sections: dict[str, Any] = recording(tmp_path) | {
        "models": {name: ModelSettings(template=text) for name in ("small", "large")},
        "tiers": {"quick": TierSettings(models=("small",)), "deep": TierSettings(models=("large",))},
        "router": RouterSettings(rules=(Rule(tier="deep", headers=(HeaderTest(name="X-Team", equals="legal"),)),)),
    }
    engines = {name: LiveEngine(model=name) for name in ("small", "large")}
    async with live_server(engines=engines, sections=sections, response_cache=CACHE) as server:
        for _ in range(2):
            answer, _ = await ask(server, GREEDY | {"model": "auto"}, x_team="legal", authorization="Bearer secret")
            assert answer.headers["x-pennyweight-recorded"] == "true"
        first, second = recorded_in(tmp_path)
        async with server.client.post(
            "/v1/route/explain", json=GREEDY | {"model": "auto"}, headers={"x-team": "legal"}
        ) as explained:
            now = await explained.json()
        assert b"secret" not in bytes_in(tmp_path)
    for one in (first, second):
        assert one.route is not None
        assert (one.model, one.route.tier, one.route.policy) == ("large", "deep", "rules")
        assert (one.request.model, one.manifest) == ("auto", "fp_scripted")
        assert one.request.routing is not None
        assert one.request.routing.headers == one.headers == {"x-team": "legal"}
        decided = one.inputs["router"]
        assert decided.keys() == now.keys()
        assert {**decided, "considered": None} == {**now, "considered": None}
    assert (first.cache, second.cache) == ("miss", "hit")
    assert second.inputs["cache"]["age"] >= 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_slow_disk_delays_no_answer_by_more_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    real = Writer._attempt

    def slow(self: Writer, *args: Any) -> bool:
        time.sleep(0.6)
        return real(self, *args)

    monkeypatch.setattr(Writer, "_attempt", slow)
    async with live_server(sections=recording(tmp_path, write_timeout=0.1)) as server:
        took = []
        for _ in range(4):
            began = time.monotonic()
            answer, body = await ask(server, GREEDY | {"stream": stream})
            took.append(time.monotonic() - began)
            told = body[-1]["pennyweight"]["recorded"] if stream else answer.headers["x-pennyweight-recorded"]
            assert told in (False, "false")
        # The first waits; the others know better.
        assert 0.1 <= took[0] < 0.5
        assert max(took[1:]) < 0.5
        assert await metric(server, "unacknowledged_total") == 4
        assert await metric(server, "pending") > 0
    assert len(recorded_in(tmp_path)) == 4


async def test_a_directory_that_is_gone_fails_no_request_and_is_counted(tmp_path: Path) -> None:
    directory = tmp_path / "recordings"
    async with live_server(sections=recording(directory)) as server:
        assert (await ask(server))[0].headers["x-pennyweight-recorded"] == "true"
        assert await metric(server, "up") == 1
        directory.rename(tmp_path / "elsewhere")
        for path in (tmp_path / "elsewhere").iterdir():
            path.unlink()
        await asyncio.sleep(CHECK_SECONDS)
        for _ in range(3):
            answer, body = await ask(server)
            assert (answer.status, answer.headers["x-pennyweight-recorded"]) == (200, "false")
            assert body["choices"][0]["message"]["content"] == "Hello world"
        assert await metric(server, "up") == 0
        assert await metric(server, 'dropped_total{reason="failed"}') >= 1
        assert await metric(server, "written_total") == 1
        assert len(server.log("recording is away")) == 1
        directory.mkdir()
        while (await ask(server))[0].headers["x-pennyweight-recorded"] != "true":  # noqa: ASYNC110 (nobody else tells)
            await asyncio.sleep(0.1)
        assert await metric(server, "up") == 1
        assert len(server.log("recording is back")) == 1


async def test_what_prometheus_is_told_adds_up(tmp_path: Path) -> None:
    async with live_server(sections=recording(tmp_path)) as server:
        for _ in range(3):
            await ask(server)
        assert await metric(server, "written_total") == 3
        assert await metric(server, "bytes_total") == len(bytes_in(tmp_path))
        assert [await metric(server, f'dropped_total{{reason="{reason}"}}') for reason in REASONS] == [0.0] * 5
        assert await metric(server, "pending") == 0


async def test_embeddings_pass_through(tmp_path: Path) -> None:
    async with live_server(sections=recording(tmp_path)) as server:
        answer, _ = await ask(server, {"model": "scripted", "input": "Hi"}, "/v1/embeddings")
        assert answer.status == 200
        assert not recorded_in(tmp_path)


async def test_what_waits_at_the_end_of_the_server_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Writer._attempt

    def slow(self: Writer, *args: Any) -> bool:
        time.sleep(0.1)
        return real(self, *args)

    monkeypatch.setattr(Writer, "_attempt", slow)
    async with live_server(sections=recording(tmp_path, write_timeout=0.01)) as server:
        await asyncio.gather(*(ask(server) for _ in range(10)))
    assert len(recorded_in(tmp_path)) == 10
