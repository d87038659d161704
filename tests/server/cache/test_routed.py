"""The response cache under the router: its hits are the chosen model's answers, cost nothing, and tell nothing of the model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fakes.live_server import LiveEngine, LiveServer, live_server
from fakes.scripted_engine import says

from pennyweight.server.config import ModelSettings, ResponseCacheSettings, RouterSettings, TierSettings, TokenPrice
from pennyweight.server.errors import EngineDead

PRICES = {"small": TokenPrice(input=1.0, output=2.0), "large": TokenPrice(input=10.0, output=20.0)}
SECTIONS: dict[str, Any] = {
    "models": {name: ModelSettings(price=price) for name, price in PRICES.items()},
    "tiers": {"quick": TierSettings(models=("small",), fallbacks=("large",)), "deep": TierSettings(models=("large",))},
    "response_cache": ResponseCacheSettings(max_bytes=1 << 20),
}


@asynccontextmanager
async def routed(**sections: Any) -> AsyncIterator[tuple[LiveServer, dict[str, LiveEngine]]]:
    engines = {name: LiveEngine(script=lambda request: says(request.model), model=name) for name in PRICES}
    async with live_server(engines=engines, sections=SECTIONS | sections) as server:
        yield server, engines


async def ask(
    server: LiveServer, model: str = "auto", control: str = "", **changes: Any
) -> tuple[int, str | None, Any]:
    """The status, what the cache did, and the model's name or the error's code."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "temperature": 0, **changes}
    headers = {"Cache-Control": control} if control else {}
    async with server.client.post("/v1/chat/completions", json=body, headers=headers) as answer:
        found = await answer.json()
        return (
            answer.status,
            answer.headers.get("x-pennyweight-cache"),
            found["model"] if answer.status == 200 else found["error"]["code"],
        )


async def metric(server: LiveServer, name: str) -> float:
    async with server.client.get("/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return float(next((line.rpartition(" ")[2] for line in lines if line.startswith(f"pennyweight:{name}")), "0"))


async def test_an_answer_is_found_by_whatever_name_leads_to_its_model() -> None:
    async with routed() as (server, engines):
        assert await ask(server) == (200, "miss", "small")
        assert await ask(server, "auto:quick") == (200, "hit", "small")
        assert await ask(server, "small") == (200, "hit", "small")
        assert await ask(server, "auto:deep") == (200, "miss", "large")
        assert len(engines["small"].left) == 1


async def test_a_kept_answer_or_none_is_a_504_that_asks_no_other_model_and_opens_no_breaker() -> None:
    async with routed(router=RouterSettings(failures_to_open=1)) as (server, engines):
        assert await ask(server, control="only-if-cached") == (504, None, "not_cached")
        assert not any(engine.left for engine in engines.values())
        assert await ask(server) == (200, "miss", "small")
        assert await ask(server, control="only-if-cached") == (200, "hit", "small")


async def test_what_is_given_again_costs_nothing_and_saves_what_the_dearest_would_have_cost() -> None:
    async with routed() as (server, _):
        await ask(server)
        spent, saved = [await metric(server, f"router_{name}dollars_total") for name in ("", "saved_")]
        assert spent > 0
        await ask(server)
        assert await metric(server, "router_dollars_total") == spent
        # The large model costs ten times as much, and nothing at all is paid now.
        assert await metric(server, "router_saved_dollars_total") - saved > 9.9 * spent


async def test_a_hit_is_no_proof_that_a_model_which_has_failed_is_well() -> None:
    async with routed(router=RouterSettings(failures_to_open=2)) as (server, engines):
        assert await ask(server) == (200, "miss", "small")
        engines["small"].refusal = lambda request: EngineDead("Gone.")
        for seed in (1, 2):
            assert await ask(server) == (200, "hit", "small")
            assert await ask(server, seed=seed) == (200, "miss", "large")
        assert await metric(server, 'router_breaker_state{model_name="small",state="open"}') == 1
