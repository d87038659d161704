"""A server whose router learned: what gains goes to the stronger tier, over a real socket."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.judged_prompts import judged_prompts
from fakes.live_server import LiveEngine, live_server
from fakes.scripted_engine import says

from pennyweight.server.config import ModelSettings, RouterSettings, TierSettings
from pennyweight.server.errors import ConfigError
from pennyweight.server.router.learned.examples import as_columns
from pennyweight.server.router.learned.model_file import Recipe, write_model
from pennyweight.server.router.learned.trainer import train

MODELS = {"small": ModelSettings(), "large": ModelSettings()}
TIERS = {"quick": TierSettings(models=("small",)), "deep": TierSettings(models=("large",))}
HARD = "Freja buys 77 pens at $3 each and sells half of them. What is the profit?"
EASY = "Freja said hello to neighbour 77. Which word greets somebody?"


def sections(learned: Path) -> dict[str, object]:
    router = RouterSettings(policy="learned", between=("quick", "deep"), learned=str(learned), quality=0.95)
    return {"models": MODELS, "tiers": TIERS, "router": router}


def engines() -> dict[str, LiveEngine]:
    return {name: LiveEngine(script=lambda request: says(request.model), model=name) for name in MODELS}


@pytest.mark.parametrize(("text", "model"), [(HARD, "large"), (EASY, "small")])
async def test_what_gains_goes_to_the_stronger_tier(text: str, model: str, tmp_path: Path) -> None:
    write_model(tmp_path, *train(as_columns(judged_prompts()), Recipe(), lambda what, count: None))
    async with live_server(engines=engines(), sections=sections(tmp_path)) as server:
        body = {"model": "auto", "messages": [{"role": "user", "content": text}]}
        async with server.client.post("/v1/chat/completions", json=body) as answer:
            route = answer.headers["x-pennyweight-route"]
        assert route.startswith(f'"{model}"')
        assert 'policy="learned"' in route


async def test_a_router_that_is_not_there_is_a_setting_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no learned router"):
        async with live_server(engines=engines(), sections=sections(tmp_path / "none")):
            pass
