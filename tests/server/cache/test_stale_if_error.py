"""When no model answers: what was answered to the same before is given, though its time is over, and flagged as what it is (RFC 5861)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fakes.live_server import LiveEngine, LiveServer, live_server
from fakes.scripted_engine import says

from pennyweight.server.config import (
    ModelSettings,
    ResponseCacheSettings,
    RouterSettings,
    TenantSettings,
    TierSettings,
)
from pennyweight.server.engines.base import HealthState
from pennyweight.server.errors import ContextLengthExceeded, EngineDead, InvalidRequest, NoAnswer, Overloaded

# The shortest time that a cache takes: what was answered is stale with the next request.
TTL = 0.001
TIERS = {
    "quick": TierSettings(models=("small",), fallbacks=("large",), stale_if_error=60.0),
    "deep": TierSettings(models=("large",)),
}
DEAD = EngineDead("dead")


@asynccontextmanager
async def routed(**changes: Any) -> AsyncIterator[tuple[LiveServer, dict[str, LiveEngine]]]:
    """A server of two models, whose answers are stale at once."""
    engines = {name: LiveEngine(script=lambda request: says(request.model), model=name) for name in ("small", "large")}
    sections: dict[str, Any] = {
        "models": {name: ModelSettings() for name in engines},
        "tiers": TIERS,
        "response_cache": ResponseCacheSettings(max_bytes=1 << 20, ttl=TTL),
    }
    async with live_server(engines=engines, sections=sections | changes) as server:
        yield server, engines


async def ask(
    server: LiveServer, control: str = "", key: str = "", **changes: Any
) -> tuple[int, Any, aiohttp.typedefs.LooseHeaders]:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0, **changes}
    headers = ({"Cache-Control": control} if control else {}) | ({"Authorization": f"Bearer {key}"} if key else {})
    await asyncio.sleep(2 * TTL)
    async with server.client.post("/v1/chat/completions", json=body, headers=headers) as answer:
        found = await answer.text() if body.get("stream") else await answer.json()
        return answer.status, found, answer.headers


def kill(engines: dict[str, LiveEngine]) -> None:
    for engine in engines.values():
        engine.refusal = lambda request: DEAD


async def test_what_was_answered_before_is_given_when_all_models_fail_and_only_then() -> None:
    async with routed() as (server, engines):
        for _ in range(2):
            _, _, headers = await ask(server)
            assert headers["x-pennyweight-cache"] == "miss"
            assert "warning" not in headers
        kill(engines)
        status, body, headers = await ask(server)
        assert (status, body["choices"][0]["message"]["content"], body["model"]) == (200, "small", "small")
        assert headers["x-pennyweight-cache"] == "stale"
        assert headers["age"] == "0"
        assert headers["warning"] == '110 - "Response is Stale"'
        assert headers["x-pennyweight-route"] == (
            '"small";tier="quick";policy="default";reason="no model answered: a kept answer";'
            'failed="small=engine_dead large=engine_dead";degraded'
        )
        assert (await server.logged(count=3))[2]["cache"] == "stale"
        async with server.client.get("/metrics") as answer:
            text = await answer.text()
        assert 'response_cache_requests_total{result="stale"} 1.0' in text
        assert (await ask(server, seed=7))[0] == 503
        # A stream is given as one.
        _, text, headers = await ask(server, stream=True)
        assert (headers["x-pennyweight-cache"], text.count('"content":"small"')) == ("stale", 1)
        for engine in engines.values():
            engine.refusal = lambda request: None
        assert (await ask(server))[2]["x-pennyweight-cache"] == "miss"


async def test_a_fallback_s_kept_answer_will_do_and_a_busy_model_counts_as_one_that_fails() -> None:
    async with routed() as (server, engines):
        engines["small"].refusal = lambda request: DEAD
        assert (await ask(server))[1]["model"] == "large"
        engines["large"].refusal = lambda request: Overloaded("full")
        status, body, headers = await ask(server)
        assert (status, body["model"], headers["x-pennyweight-cache"]) == (200, "large", "stale")


async def test_a_tier_that_doesn_t_say_so_gives_none() -> None:
    async with routed() as (server, engines):
        await ask(server, model="auto:deep")
        kill(engines)
        assert (await ask(server, model="auto:deep"))[0] == 503
        # Nor does a model that is named.
        await ask(server, model="small")
        assert (await ask(server, model="small"))[0] == 503


async def test_one_that_is_too_old_is_not_given() -> None:
    tiers = {"quick": TierSettings(models=("small",), stale_if_error=0.1)}
    async with routed(tiers=tiers) as (server, engines):
        await ask(server)
        kill(engines)
        assert (await ask(server))[0] == 200
        await asyncio.sleep(0.15)
        assert (await ask(server))[0] == 503


@pytest.mark.parametrize(
    ("control", "status"),
    [
        ("no-store", 503),
        ("no-cache", 503),
        ("max-age=60", 503),
        ("stale-if-error=0", 503),
        ("max-age=0, stale-if-error=60", 200),
        ("stale-if-error=60", 200),
        ("only-if-cached", 504),
    ],
)
async def test_clients_say_what_they_take(control: str, status: int) -> None:
    async with routed() as (server, engines):
        await ask(server)
        kill(engines)
        assert (await ask(server, control))[0] == status


async def test_an_answer_that_was_not_to_be_kept_is_not_there() -> None:
    async with routed() as (server, engines):
        await ask(server, cache=False)
        kill(engines)
        assert (await ask(server, cache=False))[0] == 503
        assert (await ask(server))[0] == 503


async def test_what_is_wrong_with_the_request_is_told_and_no_answer_is_given_for_it() -> None:
    async with routed() as (server, engines):
        await ask(server)
        for error, status in (
            (InvalidRequest("no", param="temperature"), 400),
            (ContextLengthExceeded("long", param="messages"), 400),
            (NoAnswer("not known"), 404),
        ):
            for engine in engines.values():
                engine.refusal = lambda request, error=error: error  # type: ignore[misc]
            assert (await ask(server))[0] == status
        # One that has no answer after one that is dead is no reason to give none.
        engines["small"].refusal = lambda request: DEAD
        assert (await ask(server))[0] == 200


async def test_models_that_are_known_to_be_down_are_not_asked_and_their_answers_are_given() -> None:
    async with routed(router=RouterSettings(failures_to_open=1)) as (server, engines):
        await ask(server)
        for engine in engines.values():
            engine.state = HealthState.RESTARTING
        for how in ({}, {"service_tier": "quick"}):
            status, _, headers = await ask(server, **how)
            assert (status, headers["x-pennyweight-cache"]) == (200, "stale")
            assert "failed" not in headers["x-pennyweight-route"]
        assert (await ask(server, service_tier="deep"))[0] == 503
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
        async with server.client.post("/v1/route/explain", json=body) as answer:
            assert answer.status == 503
        for engine in engines.values():
            engine.state = HealthState.READY
        kill(engines)
        for _ in range(2):  # by the second time both breakers are open
            assert (await ask(server))[2]["x-pennyweight-cache"] == "stale"


async def test_a_fresh_answer_of_a_model_that_is_down_is_a_hit_and_no_less_than_was_promised() -> None:
    fresh = ResponseCacheSettings(max_bytes=1 << 20, ttl=60.0)
    async with routed(response_cache=fresh) as (server, engines):
        await ask(server)
        for engine in engines.values():
            engine.state = HealthState.RESTARTING
        _, _, headers = await ask(server)
        assert headers["x-pennyweight-cache"] == "hit"
        assert "warning" not in headers
        assert "degraded" not in headers["x-pennyweight-route"]


async def test_a_stalled_generation_of_another_client_is_not_joined() -> None:
    tiers = {"quick": TierSettings(models=("small",), first_token_timeout=0.05, stale_if_error=60.0)}
    async with routed(tiers=tiers) as (server, engines):
        await ask(server)
        engines["small"].script = lambda request: [asyncio.Event()]
        waiting = asyncio.create_task(ask(server, model="small"))
        while len(engines["small"].left) < 2:  # noqa: ASYNC110 (the engine has no event for it)
            await asyncio.sleep(0.001)
        _, body, headers = await asyncio.wait_for(ask(server), 5)
        assert (body["choices"][0]["message"]["content"], headers["x-pennyweight-cache"]) == ("small", "stale")
        assert not waiting.done()
        waiting.cancel()


async def test_no_tenant_gets_another_s() -> None:
    tenants = {
        name: TenantSettings(api_keys=(f"sha256:{hashlib.sha256(name.encode()).hexdigest()}",)) for name in ("a", "b")
    }
    async with routed(tenants=tenants) as (server, engines):
        await ask(server, key="a")
        kill(engines)
        assert (await ask(server, key="a"))[0] == 200
        assert (await ask(server, key="b"))[0] == 503


async def test_it_is_given_over_a_restart_from_the_store_and_never_as_a_hit(tmp_path: Path) -> None:
    kept = ResponseCacheSettings(
        max_bytes=1 << 20, ttl=TTL, store=f"sqlite:///{tmp_path}/answers.db", store_timeout=5.0
    )
    async with routed(response_cache=kept) as (server, _):
        await ask(server)
    async with routed(response_cache=kept) as (server, engines):
        assert (await ask(server))[2]["x-pennyweight-cache"] == "miss"
    async with routed(response_cache=kept) as (server, engines):
        kill(engines)
        status, body, headers = await ask(server)
        assert (status, body["model"], headers["x-pennyweight-cache"]) == (200, "small", "stale")
        async with server.client.get("/metrics") as answer:
            text = await answer.text()
        assert 'response_cache_store_errors_total{kind="corrupt"} 0.0' in text


async def test_a_cascade_s_kept_answers_are_found_as_they_were_judged() -> None:
    router = RouterSettings(policy="cascade", between=("quick", "deep"))
    async with routed(router=router) as (server, engines):
        # Without logprobs it is not sure, so that both tiers have answered.
        assert (await ask(server))[1]["model"] == "large"
        kill(engines)
        status, body, headers = await ask(server)
        # Only the weaker tier allows it.
        assert (status, body["model"], headers["x-pennyweight-cache"]) == (200, "small", "stale")
        assert body["choices"][0]["logprobs"] is None
