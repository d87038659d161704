"""Requests that leave the choice of the model, through the whole server."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from fakes.live_server import LiveEngine, LiveServer, live_server
from fakes.scripted_engine import says

from pennyweight.server.config import (
    ModelSettings,
    RouterSettings,
    TenantSettings,
    TierSettings,
    TokenPrice,
    UpstreamSettings,
)
from pennyweight.server.config_routing import HeaderTest, Rule
from pennyweight.server.engines.base import HealthState, data_leaves
from pennyweight.server.engines.upstream.client import UpstreamEngine
from pennyweight.server.errors import EngineDead, InvalidRequest, Overloaded, PennyweightError

CHEAP, DEAR = TokenPrice(input=1.0, output=2.0), TokenPrice(input=10.0, output=20.0)
MODELS = {"small": ModelSettings(price=CHEAP), "twin": ModelSettings(price=CHEAP), "large": ModelSettings(price=DEAR)}
TIERS = {
    "quick": TierSettings(models=("twin", "small"), fallbacks=("large",)),
    "deep": TierSettings(models=("large",), first_token_timeout=0.2),
}


class RemoteEngine(LiveEngine):
    """A LiveEngine whose requests leave."""

    leaves = True


def engines(**others: LiveEngine) -> dict[str, LiveEngine]:
    found = {name: LiveEngine(script=lambda request: says(request.model), model=name) for name in MODELS}
    return found | others


@asynccontextmanager
async def routed(
    there: Mapping[str, LiveEngine] | None = None, tiers: Mapping[str, TierSettings] | None = None, **sections: Any
) -> AsyncIterator[LiveServer]:
    """A server of three models in two tiers; ``sections`` in the place of the settings'."""
    async with live_server(
        engines=there or engines(), sections={"models": MODELS, "tiers": tiers or TIERS, **sections}
    ) as server:
        yield server


async def ask(
    server: LiveServer, text: str = "Hi", *, headers: Mapping[str, str] | None = None, **changes: Any
) -> tuple[int, Any, str]:
    """Status, body and the route's header."""
    body = {"model": "auto", "messages": [{"role": "user", "content": text}], **changes}
    async with server.client.post("/v1/chat/completions", json=body, headers=headers) as answer:
        return answer.status, await answer.json(), answer.headers.get("x-pennyweight-route", "")


def refusing(error: PennyweightError) -> LiveEngine:
    return LiveEngine(refusal=lambda request: error)


async def test_the_first_tier_s_cheapest_model_answers_and_the_answer_says_so() -> None:
    async with routed() as server:
        status, body, route = await ask(server)
        assert (status, body["choices"][0]["message"]["content"]) == (200, "small")
        assert body["model"] == "small"
        assert route == '"small";tier="quick";policy="default";reason="the default"'
        assert (await server.logged())[0]["route"] == route


async def test_a_tier_is_asked_for_by_name_by_service_tier_and_by_header() -> None:
    async with routed() as server:
        for how in ({"model": "auto:deep"}, {"service_tier": "deep"}, {"headers": {"x-pennyweight-tier": "deep"}}):
            assert (await ask(server, **how))[1]["model"] == "large"
        status, body, _ = await ask(server, headers={"x-pennyweight-tier": "deepest"})
        assert (status, body["error"]["param"]) == (400, "service_tier")
        assert (await ask(server, service_tier="deepest"))[0] == 400
        # OpenAI's own names are no tiers of ours.
        assert (await ask(server, service_tier="flex"))[1]["model"] == "small"


async def test_a_model_that_is_named_is_not_routed() -> None:
    async with routed() as server:
        status, body, route = await ask(server, model="twin")
        assert (status, body["model"], route) == (200, "twin", "")


async def test_long_prompts_go_to_the_stronger_tier_where_length_decides() -> None:
    router = RouterSettings(policy="length", between=("quick", "deep"), long_prompt=20)
    async with routed(router=router) as server:
        assert (await ask(server, "short"))[1]["model"] == "small"
        _, body, route = await ask(server, "a prompt of more than twenty characters")
        assert body["model"] == "large"
        assert 'policy="length";reason="39 characters >= 20"' in route


async def test_the_first_rule_that_holds_decides() -> None:
    rules = (
        Rule(regex="(?i)refund", model="twin"),
        Rule(headers=(HeaderTest(name="X-Team", equals="research"),), tier="deep"),
        Rule(min_chars=100, tier="deep"),
    )
    async with routed(router=RouterSettings(rules=rules)) as server:
        _, body, route = await ask(server, "I want a REFUND")
        assert body["model"] == "twin"
        assert 'policy="rules";reason="rule for twin"' in route
        assert (await ask(server, headers={"x-team": "research"}))[1]["model"] == "large"
        assert (await ask(server, "x" * 100))[1]["model"] == "large"
        assert (await ask(server, "x" * 99))[1]["model"] == "small"


async def test_a_ceiling_keeps_dear_models_out_and_is_refused_when_none_is_cheap_enough() -> None:
    async with routed() as server:
        status, body, _ = await ask(server, model="auto:deep", max_cost=1e-6, max_tokens=10)
        assert (status, body["error"]["param"]) == (400, "max_cost")
        assert (await ask(server, max_cost=1e-3, max_tokens=10))[1]["model"] == "small"
        assert (await ask(server, headers={"x-pennyweight-max-cost": "much"}))[0] == 400


async def test_a_model_that_fails_is_left_for_the_next_and_rests_after_five_failures() -> None:
    dead = refusing(EngineDead("dead"))
    async with routed(engines(small=dead)) as server:
        for number in range(8):
            status, body, route = await ask(server, f"Question {number}")
            assert (status, body["model"]) == (200, "twin")
            assert "failed=" in route
        assert len(dead.left) == 5
        metrics = await (await server.client.get("/metrics")).text()
        assert 'pennyweight:router_fallbacks_total{code="engine_dead",model_name="small"} 5.0' in metrics
        assert 'pennyweight:router_breaker_state{model_name="small",state="open"} 1.0' in metrics


async def test_fallbacks_are_told_to_be_degraded_and_the_last_error_is_told_when_all_fail() -> None:
    dead = EngineDead("dead")
    async with routed(engines(small=refusing(dead), twin=refusing(dead))) as server:
        _, body, route = await ask(server)
        assert body["model"] == "large"
        assert route.endswith('failed="small=engine_dead twin=engine_dead";degraded')
    async with routed(engines(small=refusing(dead), twin=refusing(dead), large=refusing(Overloaded("full")))) as server:
        status, body, _ = await ask(server)
        assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")


async def test_second_tries_are_within_a_budget() -> None:
    dead = refusing(EngineDead("dead"))
    settings = RouterSettings(fallback_budget=0.0, failures_to_open=1000)
    async with routed(engines(small=dead), router=settings) as server:
        answers = [(await ask(server, f"Question {number}"))[0] for number in range(20)]
        # Ten are saved up at the start.
        assert answers == [200] * 10 + [503] * 10


async def test_what_is_wrong_with_the_request_is_tried_nowhere_else() -> None:
    wrong = refusing(InvalidRequest("no", param="temperature"))
    async with routed(there := engines(small=wrong)) as server:
        status, body, _ = await ask(server)
        assert (status, body["error"]["param"]) == (400, "temperature")
        assert not there["twin"].left


async def test_a_model_that_gives_no_token_in_time_is_left() -> None:
    stalled = LiveEngine(script=lambda request: [asyncio.Event()])
    tiers = TIERS | {"deep": TierSettings(models=("large",), fallbacks=("small",), first_token_timeout=0.1)}
    async with routed(engines(large=stalled), tiers=tiers) as server:
        _, body, route = await ask(server, model="auto:deep", stream=False)
        assert body["model"] == "small"
        assert 'failed="large=upstream_timeout"' in route
        assert stalled.left[0].closed


async def test_after_the_first_token_nothing_is_tried_again() -> None:
    broken = LiveEngine(script=lambda request: [*says("He")[:1], EngineDead("dead")])
    async with routed(there := engines(small=broken)) as server:
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        async with server.client.post("/v1/chat/completions", json=body) as answer:
            assert answer.status == 200
            assert "engine_dead" in await answer.text()
        assert not there["twin"].left


async def test_models_that_are_not_ready_are_passed_over() -> None:
    there = engines()
    there["small"].state = HealthState.RESTARTING
    async with routed(there) as server:
        assert (await ask(server))[1]["model"] == "twin"
        there["twin"].state = there["large"].state = HealthState.FAILED
        status, body, _ = await ask(server)
        assert (status, body["error"]["code"]) == (503, "service_unavailable")


async def test_data_leaves_only_for_tenants_that_allow_it() -> None:
    tenants = {
        name: TenantSettings(api_keys=(f"sha256:{hashlib.sha256(name.encode()).hexdigest()}",), data_may_leave=leaves)
        for name, leaves in (("open", True), ("closed", False))
    }
    hosted = RemoteEngine(script=lambda request: says("hosted"))
    async with routed(engines(large=hosted), tenants=tenants) as server:
        closed, opened = ({"Authorization": f"Bearer {name}"} for name in ("closed", "open"))
        assert (await ask(server, model="auto:deep", headers=opened))[1]["model"] == "large"
        for model in ("auto:deep", "large"):
            status, body, _ = await ask(server, model=model, headers=closed)
            assert (status, body["error"]["code"]) == (403, "permission_denied")
        async with server.client.post(
            "/tokenize", json={"model": "large", "prompt": "secret"}, headers=closed
        ) as answer:
            assert answer.status == 403
        assert (await ask(server, headers={"Authorization": "Bearer wrong"}))[0] == 401
        assert len(hosted.left) == 1


async def test_a_tenant_has_its_own_tiers() -> None:
    digest = f"sha256:{hashlib.sha256(b'k').hexdigest()}"
    async with routed(tenants={"acme": TenantSettings(api_keys=(digest,), tiers=("deep",))}) as server:
        key = {"Authorization": "Bearer k"}
        assert (await ask(server, headers=key))[1]["model"] == "large"
        assert (await ask(server, model="auto:quick", headers=key))[0] == 403


async def test_a_conversation_goes_where_it_was_answered_before() -> None:
    models = {name: ModelSettings(price=CHEAP) for name in MODELS}
    async with routed(there := engines(), models=models) as server:
        there["small"].state = HealthState.RESTARTING
        turns = [{"role": "user", "content": "Hi"}]
        _, body, _ = await ask(server, messages=turns)
        assert body["model"] == "twin"
        there["small"].state = HealthState.READY
        more = [*turns, {"role": "assistant", "content": "twin"}, {"role": "user", "content": "And?"}]
        assert (await ask(server, messages=more))[1]["model"] == "twin"
        assert (await ask(server, "Something else"))[1]["model"] == "small"


async def test_a_route_is_explained_with_what_it_went_by() -> None:
    async with routed() as server:
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100}
        async with server.client.post("/v1/route/explain", json=body) as answer:
            found = await answer.json()
        assert (found["model"], found["chain"], found["fallbacks"]) == ("small", ["small", "twin", "large"], ["large"])
        orders = {one["model"]: one["order"] for one in found["considered"]}
        assert orders["small"]["price"] == pytest.approx((1 + 200) / 1e6)
        assert orders["large"] == {}
        async with server.client.post("/v1/route/explain", json=body | {"model": "small"}) as answer:
            assert answer.status == 400


async def test_names_of_the_router_are_listed_first() -> None:
    async with routed() as server:
        async with server.client.get("/v1/models") as answer:
            names = [one["id"] for one in (await answer.json())["data"]]
        assert names == ["auto", "auto:quick", "auto:deep", "small", "twin", "large"]
        async with server.client.get("/v1/models/auto:deep") as answer:
            assert (await answer.json())["state"] == "ready"


def test_upstreams_leave_unless_they_are_private() -> None:
    settings = UpstreamSettings(base_url="http://127.0.0.1:1/v1")
    assert data_leaves(UpstreamEngine(settings, "m"))
    assert not data_leaves(UpstreamEngine(msgspec.structs.replace(settings, private=True), "m"))


async def test_the_command_shows_where_a_prompt_would_go_and_the_numbers_of_each_model() -> None:
    async with routed() as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pennyweight.server.cli", "route", "explain", "Hi", "--url", server.url),
            stdout=asyncio.subprocess.PIPE,
        )
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0
    assert "small in the tier quick" in output
    assert "then twin, large" in output
    assert "price" in output
