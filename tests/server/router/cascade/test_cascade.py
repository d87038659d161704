"""A cascade through the whole server: the weaker tier answers, is judged, and the stronger is asked where that was not sure."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from fakes.live_server import LiveEngine, LiveServer, live_server
from fakes.scripted_engine import says

from pennyweight.server.api.answer_types import RouteEscalation, RouteExplanation
from pennyweight.server.config import (
    CascadeSettings,
    ModelSettings,
    ResponseCacheSettings,
    RouterSettings,
    TierSettings,
    TokenPrice,
)
from pennyweight.server.engines.base import Capabilities, HealthState
from pennyweight.server.engines.features import Feature
from pennyweight.server.errors import EngineDead, InvalidRequest, Overloaded, PennyweightError
from pennyweight.server.types import Delta, FinishReason, Request, TokenLogprob, TopLogprob

PRICES = {"small": TokenPrice(input=1.0, output=2.0), "large": TokenPrice(input=10.0, output=20.0)}
MODELS = {name: ModelSettings(price=price) for name, price in PRICES.items()} | {"last": ModelSettings()}
TIERS = {"quick": TierSettings(models=("small",), fallbacks=("last",)), "deep": TierSettings(models=("large",))}
CACHED = ResponseCacheSettings(max_bytes=1 << 20)
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
AS_SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}


class NoLogprobs(LiveEngine):
    """An engine that can't give logprobs."""

    def capabilities(self) -> Capabilities:
        known = super().capabilities()
        return dataclasses.replace(known, features=known.features - {Feature.LOGPROBS})


def tokens(request: Request, text: str, margin: float, reason: FinishReason = FinishReason.STOP) -> list[Delta]:
    """An answer of one token, with logprobs as far as the request asks for them."""
    likely = (math.log((1 + margin) / 2), math.log((1 - margin) / 2 + 1e-12))
    top = tuple(TopLogprob(token_id=place, token="t", bytes=b"t", logprob=p) for place, p in enumerate(likely))
    wanted = request.sampling.logprobs
    told = (TokenLogprob(token_id=0, token="t", bytes=b"t", logprob=likely[0], top=top[: wanted or 0]),)
    return [
        Delta(index=0, text=text, token_ids=(0,), logprobs=() if wanted is None else told),
        Delta(index=0, text="", finish_reason=reason),
    ]


def answering(text: str, margin: float = 1.0, **changes: Any) -> LiveEngine:
    return LiveEngine(script=lambda request: tokens(request, text, margin), **changes)


def refusing(error: PennyweightError) -> LiveEngine:
    return LiveEngine(refusal=lambda request: error)


@asynccontextmanager
async def cascading(
    small: LiveEngine,
    large: LiveEngine | None = None,
    *judges: str,
    tiers: Mapping[str, TierSettings] = TIERS,
    **sections: Any,
) -> AsyncIterator[tuple[LiveServer, dict[str, LiveEngine]]]:
    engines = {"small": small, "large": large or answering("large"), "last": answering("last")}
    for name, engine in engines.items():
        engine.model = name
    cascade = sections.pop("cascade", CascadeSettings(judges=judges or ("schema", "margin")))  # type: ignore[arg-type]
    router = RouterSettings(policy="cascade", between=("quick", "deep"), cascade=cascade)
    async with live_server(
        engines=engines, sections={"models": MODELS, "tiers": tiers, "router": router, **sections}
    ) as server:
        yield server, engines


async def ask(server: LiveServer, text: str = "Hi", **changes: Any) -> tuple[int, Any, Mapping[str, str]]:
    body = {"model": "auto", "messages": [{"role": "user", "content": text}], "temperature": 0, **changes}
    async with server.client.post("/v1/chat/completions", json=body) as answer:
        return answer.status, await answer.json(), answer.headers


async def said(server: LiveServer, **changes: Any) -> tuple[str, str]:
    """The answer's text, and the route's header."""
    status, body, headers = await ask(server, **changes)
    assert status == 200, body
    return body["choices"][0]["message"]["content"], headers["x-pennyweight-route"]


async def metric(server: LiveServer, name: str) -> float:
    async with server.client.get("/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return float(next((line.rpartition(" ")[2] for line in lines if line.startswith(f"pennyweight:{name}")), "0"))


async def test_an_answer_that_the_model_was_sure_of_is_given_without_the_logprobs_that_judged_it() -> None:
    async with cascading(answering("small", 0.9)) as (server, engines):
        status, body, headers = await ask(server)
        assert (status, body["choices"][0]["message"]["content"]) == (200, "small")
        assert body["choices"][0]["logprobs"] is None
        assert headers["x-pennyweight-route"] == '"small";tier="quick";policy="cascade";reason="margin 0.90 >= 0.6"'
        assert engines["small"].left[0].request.sampling.logprobs == 2
        assert not engines["large"].left


async def test_one_that_it_was_not_sure_of_is_dropped_for_the_stronger_s_and_counted() -> None:
    async with cascading(answering("small", 0.2)) as (server, engines):
        status, body, headers = await ask(server)
        assert (status, body["model"], body["choices"][0]["message"]["content"]) == (200, "large", "large")
        assert headers["x-pennyweight-route"] == (
            '"large";tier="deep";policy="cascade";reason="margin 0.20 < 0.6: escalated from small";dropped="small=1"'
        )
        # The usage is that of the answer, and the stronger is asked as the client asks.
        assert body["usage"]["completion_tokens"] == 1
        assert engines["large"].left[0].request.sampling.logprobs is None
        assert await metric(server, 'router_escalations_total{from="quick",judge="margin",to="deep"}') == 1
        assert await metric(server, 'router_dropped_tokens_total{kind="generation",model_name="small"}') == 1
        dropped = await metric(server, 'router_dropped_dollars_total{model_name="small"}')
        assert dropped == await metric(server, 'router_dollars_total{model_name="small"}') > 0


async def test_a_client_gets_the_logprobs_that_it_asked_for_and_no_more() -> None:
    async with cascading(answering("small", 0.9)) as (server, _):
        for wanted in (0, 1, 2):
            _, body, _ = await ask(server, logprobs=True, top_logprobs=wanted)
            (token,) = body["choices"][0]["logprobs"]["content"]
            assert len(token["top_logprobs"]) == wanted
        _, body, _ = await ask(server, logprobs=True)
        assert body["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []


@pytest.mark.parametrize(("margin", "told"), [(0.9, "small"), (0.2, "large")])
async def test_of_a_stream_nothing_is_given_before_its_answer_is_judged(margin: float, told: str) -> None:
    gate = asyncio.Event()
    small = LiveEngine(script=lambda request: [*(steps := tokens(request, "small", margin))[:1], gate, *steps[1:]])
    async with cascading(small) as (server, _):
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        sending = asyncio.create_task(server.client.post("/v1/chat/completions", json=body).__aenter__())
        while not small.left:  # noqa: ASYNC110 (the engine has no event for it)
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert not sending.done()
        gate.set()
        async with await sending as answer:
            text = await answer.text()
        chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        assert "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks) == told
        assert all(one["choices"][0]["logprobs"] is None for one in chunks)
        assert text.endswith("data: [DONE]\n\n")


async def test_a_client_that_leaves_ends_the_answer_that_was_to_be_judged() -> None:
    small = LiveEngine(script=lambda request: [*tokens(request, "small", 0.9)[:1], asyncio.Event()])
    async with cascading(small) as (server, engines):
        sending = asyncio.create_task(ask(server))
        while not small.left:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        sending.cancel()
        while not small.left[0].closed:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert not engines["large"].left


async def test_json_must_be_whole_and_of_its_schema() -> None:
    texts = iter(['{"n": 7}', '{"n": "seven"}', '{"n": 7', "seven"])
    small = LiveEngine(script=lambda request: tokens(request, next(texts), 1.0))
    async with cascading(small, answering('{"n": 1}'), "schema") as (server, _):
        assert await said(server, response_format=AS_SCHEMA) == (
            '{"n": 7}',
            '"small";tier="quick";policy="cascade";reason="valid"',
        )
        for _ in range(3):
            text, route = await said(server, response_format=AS_SCHEMA)
            assert text == '{"n": 1}'
            assert 'reason="not as response_format.json_schema.schema asks: escalated from small"' in route


async def test_a_form_that_was_cut_off_is_not_whole_and_text_may_end_anywhere() -> None:
    small = LiveEngine(script=lambda request: tokens(request, '{"n": 7}', 1.0, FinishReason.LENGTH))
    async with cascading(small, None, "schema") as (server, _):
        assert 'reason="cut off: escalated from small"' in (await said(server, response_format=AS_SCHEMA))[1]
        text, route = await said(server)
        assert (text, 'reason="nothing to judge"' in route) == ('{"n": 7}', True)


async def test_calls_must_be_of_the_tools_that_there_are_with_their_arguments() -> None:
    calls = iter(
        [
            '<tool_call>{"name": "add", "arguments": {"n": 7}}</tool_call>',
            '<tool_call>{"name": "add", "arguments": {"n": "x"}}</tool_call>',
            "No call at all.",
        ]
    )
    small = LiveEngine(script=lambda request: tokens(request, next(calls), 1.0))
    tools = [{"type": "function", "function": {"name": "add", "parameters": SCHEMA}}]
    async with cascading(small, None, "schema") as (server, _):
        _, body, headers = await ask(server, tools=tools)
        assert body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"n": 7}'
        assert 'reason="valid"' in headers["x-pennyweight-route"]
        _, _, headers = await ask(server, tools=tools)
        assert "a call of add with wrong arguments: escalated" in headers["x-pennyweight-route"]
        _, _, headers = await ask(server, tools=tools)
        assert 'reason="valid"' in headers["x-pennyweight-route"]


async def test_samples_that_say_the_same_are_agreement_and_are_counted_as_spent() -> None:
    def script(request: Request) -> list[Delta]:
        if request.sampling.n == 1:
            return says("Paris.")
        words = ("paris", " PARIS ", "Rome")
        choices = [Delta(index=place, text=word, token_ids=(0,)) for place, word in enumerate(words)]
        return [*choices, *(Delta(index=place, text="", finish_reason=FinishReason.STOP) for place in range(3))]

    for least, told in ((0.6, "Paris."), (0.7, "large")):
        cascade = CascadeSettings(judges=("agreement",), samples=3, min_agreement=least)
        async with cascading(LiveEngine(script=script), cascade=cascade) as (server, engines):
            text, route = await said(server)
            assert text == told
            assert f"agreement 0.67 {'>=' if told == 'Paris.' else '<'} {least}" in route
            answered, sampled = (left.request.sampling for left in engines["small"].left)
            assert (answered.n, answered.seed, sampled.n, sampled.temperature) == (1, None, 3, 0.7)
            assert sampled.seed is not None
            dropped = 3 + (told == "large")
            assert await metric(server, 'router_dropped_tokens_total{kind="generation",model_name="small"}') == dropped
            # The same request gets the same seed, another another.
            await said(server)
            await ask(server, "Another")
            seeds = [left.request.sampling.seed for left in engines["small"].left if left.request.sampling.n == 3]
            assert (seeds[0], seeds[0] == seeds[2]) == (seeds[1], False)


async def test_an_engine_without_logprobs_is_not_asked_for_them_and_not_sure() -> None:
    small = NoLogprobs(script=lambda request: says("small"))
    async with cascading(small) as (server, engines):
        text, route = await said(server)
        assert (text, "margin not known" in route) == ("large", True)
        assert engines["small"].left[0].request.sampling.logprobs is None


async def test_a_repeated_request_is_a_hit_of_both_tiers_and_judged_again_from_what_is_kept() -> None:
    async with cascading(answering("small", 0.2), response_cache=CACHED) as (server, engines):
        first, second = [await ask(server) for _ in range(2)]
        assert [one[2]["x-pennyweight-cache"] for one in (first, second)] == ["miss", "hit"]
        assert first[1]["choices"] == second[1]["choices"]
        assert [len(engine.left) for engine in engines.values()] == [1, 1, 0]
        # What was given again has cost nothing.
        assert await metric(server, 'router_dropped_tokens_total{kind="generation",model_name="small"}') == 1
        # A request that differs in what only the client reads finds the kept answers too.
        _, _, headers = await ask(server, logprobs=True, top_logprobs=2)
        assert headers["x-pennyweight-cache"] == "miss"
        assert [len(engine.left) for engine in engines.values()] == [1, 2, 0]


async def test_a_threshold_that_was_changed_judges_kept_answers_anew(tmp_path: Any) -> None:
    kept = ResponseCacheSettings(max_bytes=1 << 20, store=f"sqlite:///{tmp_path}/answers.db", store_timeout=5.0)
    small = answering("small", 0.5)
    for least, told in ((0.4, "small"), (0.6, "large"), (0.4, "small")):
        small.closing.clear()
        cascade = CascadeSettings(judges=("margin",), min_margin=least)
        async with cascading(small, cascade=cascade, response_cache=kept) as (server, _):
            assert (await said(server))[0] == told
    assert len(small.left) == 1


async def test_kept_or_none_asks_nobody_and_gives_no_answer_that_was_too_weak() -> None:
    async with cascading(answering("small", 0.2), response_cache=CACHED) as (server, engines):
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}
        only = {"Cache-Control": "only-if-cached"}
        engines["large"].refusal = lambda request: EngineDead("dead")
        for _ in range(2):
            async with server.client.post("/v1/chat/completions", json=body, headers=only) as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (504, "not_cached")
            assert (await said(server))[0] == "small"
        assert len(engines["small"].left) == 1


async def test_a_weaker_tier_that_is_dead_is_left_for_the_stronger_and_then_for_both_tiers_fallbacks() -> None:
    dead = EngineDead("dead")
    async with cascading(refusing(dead)) as (server, engines):
        text, route = await said(server)
        assert text == "large"
        assert 'reason="no answer of the weaker";failed="small=engine_dead"' in route
        engines["large"].refusal = lambda request: dead
        text, route = await said(server)
        assert text == "last"
        assert route.endswith('failed="small=engine_dead large=engine_dead";degraded')
        assert await metric(server, "router_escalations_total") == 0


async def test_a_weaker_model_that_dies_in_the_middle_of_its_answer_has_given_nothing_yet() -> None:
    small = LiveEngine(script=lambda request: [*tokens(request, "sma", 1.0)[:1], EngineDead("dead")])
    async with cascading(small) as (server, _):
        text, route = await said(server)
        assert (text, 'failed="small=engine_dead"' in route) == ("large", True)


async def test_an_answer_that_was_not_sure_is_better_than_none() -> None:
    async with cascading(answering("small", 0.2), refusing(Overloaded("full"))) as (server, _):
        text, route = await said(server)
        assert text == "small"
        assert route.endswith('reason="margin 0.20 < 0.6, but deep failed";failed="large=rate_limit_exceeded";degraded')
        assert await metric(server, "router_dropped_tokens_total") == 0


async def test_what_is_wrong_with_the_request_is_told_at_once() -> None:
    async with cascading(refusing(InvalidRequest("no", param="temperature"))) as (server, engines):
        status, body, _ = await ask(server)
        assert (status, body["error"]["param"]) == (400, "temperature")
        assert not engines["large"].left


async def test_a_tier_that_is_asked_for_is_not_judged() -> None:
    async with cascading(answering("small", 0.2)) as (server, engines):
        for how in ({"model": "auto:quick"}, {"service_tier": "quick"}):
            text, route = await said(server, **how)
            assert (text, "cascade" in route) == ("small", False)
        assert engines["small"].left[0].request.sampling.logprobs is None


async def test_a_ceiling_is_for_all_that_is_asked() -> None:
    async with cascading(answering("small", 0.2)) as (server, _):
        # For 100 tokens the small costs $0.0002, the large $0.002.
        text, route = await said(server, max_tokens=100, max_cost=0.00205)
        assert (text, "max_cost leaves no room for a second answer" in route) == ("small", True)
        assert (await said(server, max_tokens=100, max_cost=0.003))[0] == "large"
        assert "default" in (await said(server, max_tokens=100, max_cost=0.001))[1]


async def test_where_one_tier_can_t_answer_there_is_nothing_to_judge() -> None:
    async with cascading(answering("small", 0.2)) as (server, engines):
        engines["small"].state = HealthState.RESTARTING
        text, route = await said(server)
        assert (text, 'reason="no model of quick can"' in route) == ("large", True)
        engines["small"].state, engines["large"].state = HealthState.READY, HealthState.FAILED
        assert (await said(server))[0] == "small"


async def test_the_explanation_has_what_is_done_when_the_answer_is_not_sure() -> None:
    async with cascading(answering("small")) as (server, _):
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
        async with server.client.post("/v1/route/explain", json=body) as answer:
            found = msgspec.json.decode(await answer.read(), type=RouteExplanation)
        assert (found.policy, found.model, found.chain) == ("cascade", "small", ["small"])
        assert found.escalation == RouteEscalation("deep", ["large", "last"], ["schema", "margin"])
