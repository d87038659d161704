"""The semantic cache inside the exact one, which keeps nothing of it, and in the application."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fakes.live_server import LiveEngine
from fakes.scripted_engine import says
from fakes.word_embedder import WordEmbedder

from pennyweight.server.app import create_app
from pennyweight.server.cache.administration import CacheAdministration
from pennyweight.server.cache.label import Selection
from pennyweight.server.cache.response_cache import ResponseCache
from pennyweight.server.cache.result import CacheResult
from pennyweight.server.cache.semantic.wiring import make_semantic_cache
from pennyweight.server.config import ResponseCacheSettings, SemanticCacheSettings, Settings
from pennyweight.server.engines.base import Engine
from pennyweight.server.types import ChatPrompt, Message, Request, SamplingParams, Started


def request(text: str, number: int) -> Request:
    prompt = ChatPrompt(messages=(Message(role="user", content=text),))
    return Request(id=str(number), model="scripted", prompt=prompt, sampling=SamplingParams(temperature=0.0))


async def test_the_exact_cache_keeps_nothing_that_was_not_generated() -> None:
    engine = LiveEngine(script=lambda request: says("Hello"))
    engine.loaded.set()
    engines: dict[str, Engine] = {"scripted": engine, "embed": WordEmbedder()}
    settings = SemanticCacheSettings(tenants=("*",), embedder="embed")
    semantic = make_semantic_cache(settings, engines)
    exact = ResponseCache(ResponseCacheSettings(max_bytes=1 << 20))
    both = exact.around(semantic.around(engine))

    async def ask(number: int) -> str | None:
        events = [event async for event in both.generate(request("how do you do", number))]
        while not len(semantic.entries):  # noqa: ASYNC110 (the flight comes to its end a moment after its subscribers)
            await asyncio.sleep(0.001)
        assert isinstance(events[0], Started)
        return events[0].cache

    assert [await ask(number) for number in range(2)] == [CacheResult.MISS, CacheResult.HIT]
    exact.store.purge(Selection())
    # Now what is inside answers, each time anew.
    assert [await ask(number) for number in range(2, 4)] == ["semantic", "semantic"]
    assert len(exact.store) == 0
    assert len(engine.left) == 1


async def test_what_is_purged_is_purged_here_too() -> None:
    engine = LiveEngine(script=lambda request: says("Hello"))
    engine.loaded.set()
    engines: dict[str, Engine] = {"scripted": engine, "embed": WordEmbedder()}
    semantic = make_semantic_cache(SemanticCacheSettings(tenants=("*",), embedder="embed"), engines)
    exact = ResponseCache(ResponseCacheSettings(max_bytes=1 << 20))
    both = exact.around(semantic.around(engine))
    administration = CacheAdministration(exact, semantic)
    for number, tenant in enumerate(("ann", "bob")):
        asked = msgspec.structs.replace(request("how do you do", number), tenant=tenant)
        async for _ in both.generate(asked):
            pass
    while len(semantic.entries) < 2:  # noqa: ASYNC110 (a flight comes to its end a moment after its subscribers)
        await asyncio.sleep(0.001)
    assert await administration.purge(tenant="ann") == {"purged": {"memory": 1, "store": None, "semantic": 1}}
    assert await administration.purge(model="other") == {"purged": {"memory": 0, "store": None, "semantic": 0}}
    assert await administration.purge(all_of_it=True) == {"purged": {"memory": 1, "store": None, "semantic": 1}}


def test_a_server_has_it_where_tenants_are_named() -> None:
    settings = Settings(semantic_cache=SemanticCacheSettings(tenants=("ann",), embedder="embed"))
    engines: dict[str, Any] = {"scripted": LiveEngine(), "embed": WordEmbedder()}
    assert create_app(settings, engines).routes
