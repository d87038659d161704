"""Tiers and the modes of determinism: models that can't honour the asked mode are passed over, and the explanation says why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fakes.live_server import LiveEngine, LiveServer, live_server
from fakes.scripted_engine import says

from pennyweight.server.config import ModelSettings, TierSettings
from pennyweight.server.types import Determinism

MODELS = ("loose", "exact")


@asynccontextmanager
async def routed(**tiers: TierSettings) -> AsyncIterator[tuple[LiveServer, dict[str, LiveEngine]]]:
    def engine(name: str, mode: Determinism) -> LiveEngine:
        made = LiveEngine(
            script=lambda request: says(request.model), model=name, more={"determinism": mode, "variance": "it hurries"}
        )
        made.loaded.set()
        return made

    engines = {"loose": engine("loose", Determinism.SEEDED), "exact": engine("exact", Determinism.BITWISE)}
    sections = {"models": dict.fromkeys(MODELS, ModelSettings()), "tiers": tiers}
    async with live_server(engines=engines, sections=sections) as server:
        yield server, engines


async def ask(server: LiveServer, path: str = "/v1/chat/completions", **changes: Any) -> tuple[int, Any, str | None]:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}], **changes}
    async with server.client.post(path, json=body) as answer:
        return answer.status, await answer.json(), answer.headers.get("x-pennyweight-deterministic")


async def test_a_model_that_cannot_honour_the_mode_is_passed_over() -> None:
    async with routed(first=TierSettings(models=("loose",)), second=TierSettings(models=("exact",))) as (server, _):
        status, body, mode = await ask(server)
        assert (status, body["model"], mode) == (200, "loose", "seeded")
        status, body, mode = await ask(server, deterministic=True)
        assert (status, body["model"], mode) == (200, "exact", "bitwise")
        _, explained, _ = await ask(server, "/v1/route/explain", deterministic=True)
        refusals = {one["model"]: one["refusal"] for one in explained["considered"]}
        assert "at most as 'seeded': it hurries" in refusals["loose"]
        assert refusals["exact"] is None


async def test_a_tier_s_mode_is_for_requests_that_name_none() -> None:
    tiers = {
        "audited": TierSettings(models=("loose", "exact"), deterministic="bitwise"),
        "quick": TierSettings(models=("loose",)),
    }
    async with routed(**tiers) as (server, engines):
        status, body, mode = await ask(server, service_tier="audited")
        assert (status, body["model"], mode) == (200, "exact", "bitwise")
        assert engines["exact"].left[-1].request.determinism is Determinism.BITWISE
        assert engines["exact"].left[-1].request.sampling.seed is not None
        status, _, _ = await ask(server, service_tier="quick")
        assert status == 200
        assert engines["loose"].left[-1].request.determinism is None


async def test_a_mode_that_no_model_honours_is_refused() -> None:
    async with routed(only=TierSettings(models=("loose",))) as (server, _):
        status, body, _ = await ask(server, deterministic=True)
        assert (status, body["error"]["param"]) == (400, "deterministic")
        assert "it hurries" in body["error"]["message"]
