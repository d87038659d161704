"""The steps of the waterfall, each a Pennyweight server of its own with a YAML that is made for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pennyweight.bench.peers.serve_command import ServeCommand
from pennyweight.server.ledger.price_book import ModelPrice

CHEAP, DEAR, HOSTED = "cheap", "dear", "hosted"
QUICK, DEEP = "quick", "deep"


class Step(msgspec.Struct, frozen=True):
    """What is on. Without the router every request is for the dear tier."""

    name: str
    has_cache: bool = False
    has_router: bool = False


STEPS = (
    Step("everything off"),
    Step("response cache", has_cache=True),
    Step("router", has_router=True),
    Step("both", has_cache=True, has_router=True),
)


class Prices(msgspec.Struct, frozen=True):
    """What each model's tokens cost; the hosted one's are those of the dear."""

    cheap: ModelPrice
    dear: ModelPrice

    def of(self, model: str) -> ModelPrice:
        """Raises KeyError for a model that is none of the servers'."""
        return {CHEAP: self.cheap, DEAR: self.dear, HOSTED: self.dear}[model]


class Serving(msgspec.Struct, frozen=True):
    """What both tiers serve, and with what."""

    model: str
    cheap_dtype: str = "int8"
    dear_dtype: str = "bfloat16"
    kv_cache: str = "1GiB"
    cache_bytes: str = "256MiB"


def serve(settings: Mapping[str, Any], file: Path) -> ServeCommand:
    """A server with settings of its own, which are written to ``file``."""
    file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return ServeCommand(("--config", str(file)))


def upstream_settings(serving: Serving) -> dict[str, Any]:
    """Of the server that stands for a hosted one."""
    engine = {"model": serving.model, "dtype": serving.dear_dtype, "kv_cache_memory": serving.kv_cache}
    return {"engine": {**engine, "served_model_name": [HOSTED]}}


def settings(
    step: Step, serving: Serving, prices: Prices, policy: Mapping[str, Any], upstream_url: str
) -> dict[str, Any]:
    """Of a step's server. ``policy`` are the router's settings where it is on."""
    off = {"policy": "default", "default_tier": DEEP}
    on = {**policy, "between": [QUICK, DEEP], "default_tier": DEEP}
    return {
        "engine": {"kv_cache_memory": serving.kv_cache},
        "models": {
            CHEAP: {"model": serving.model, "dtype": serving.cheap_dtype, "price": _price(prices.cheap)},
            DEAR: {"model": serving.model, "dtype": serving.dear_dtype, "price": _price(prices.dear)},
            HOSTED: {
                "engine": "upstream",
                "base_url": f"{upstream_url}/v1",
                "model": HOSTED,
                "dialect": "vllm",
                "private": True,
                "price": _price(prices.dear),
            },
        },
        "tiers": {
            QUICK: {"models": [CHEAP], "fallbacks": [DEAR, HOSTED]},
            DEEP: {"models": [DEAR], "fallbacks": [HOSTED]},
        },
        "router": on if step.has_router else off,
        "response_cache": {"max_bytes": serving.cache_bytes if step.has_cache else 0},
    }


def _price(price: ModelPrice) -> dict[str, float]:
    found = {"input": float(price.input), "output": float(price.output)}
    return found if price.cached_input is None else {**found, "cached_input": float(price.cached_input)}
