"""The response cache among several models, as operators run it: nothing is loaded for a hit, a promotion ends nothing but itself, and
answers are purged by the command line."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from fakes.live_server import LiveEngine
from fakes.scripted_engine import says

from pennyweight.server.admin import create_admin_app
from pennyweight.server.admission import Admission
from pennyweight.server.app import create_app
from pennyweight.server.cache.administration import CacheAdministration
from pennyweight.server.config import HttpSettings, LogSettings, ResidencySettings, ResponseCacheSettings, Settings
from pennyweight.server.engines.base import Capabilities, Health, HealthState
from pennyweight.server.engines.residency import Residency
from pennyweight.server.errors import ModelLoading
from pennyweight.server.registry import Registry
from pennyweight.server.serving import Serving, bind
from pennyweight.server.telemetry.logs import make_logger


@dataclass
class LoadedOnDemand(LiveEngine):
    """A Manageable that says how often it was asked, and is known once it was loaded; it takes requests only while it is."""

    is_loaded: bool = False
    was_loaded: int = 0

    def __post_init__(self) -> None:
        self.loaded.set()
        self.script = lambda request: says(f"{self.model} {len(self.left)}")

    async def load(self) -> None:
        self.is_loaded = True
        self.was_loaded += 1

    async def unload(self) -> None:
        self.is_loaded = False

    async def sleep(self, level: int) -> None: ...

    def sleep_levels(self) -> frozenset[int]:
        return frozenset()

    def resident_bytes(self) -> int:
        return 6 if self.is_loaded else 0

    def expected_bytes(self) -> int:
        return 6

    def capabilities(self) -> Capabilities:
        if not self.was_loaded:
            raise ModelLoading("Not loaded yet.")
        return super().capabilities()

    def health(self) -> Health:
        return Health(state=HealthState.READY if self.is_loaded else HealthState.UNLOADED)


@dataclass
class Operated:
    """A server with two models, of which one at a time is loaded, and its administration."""

    url: str
    admin: str
    models: dict[str, LoadedOnDemand]
    client: aiohttp.ClientSession
    output: io.StringIO = field(default_factory=io.StringIO)

    async def ask(self, model: str, key: str = "ann", **changes: Any) -> tuple[str | None, str]:
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "temperature": 0} | changes
        headers = {"Authorization": f"Bearer {key}"}
        async with self.client.post(f"{self.url}/v1/chat/completions", json=body, headers=headers) as answer:
            found = await answer.json()
            return answer.headers.get("x-pennyweight-cache"), found["choices"][0]["message"]["content"]

    async def operate(self, *command: str) -> tuple[int, str]:
        ran = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pennyweight.server.cli", *command, "--url", self.admin),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PENNYWEIGHT_API_KEY": "ann"},
        )
        output, _ = await ran.communicate()
        return ran.returncode or 0, output.decode().strip()

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.output.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]


@asynccontextmanager
async def operated(store: str | None = None) -> AsyncIterator[Operated]:
    http = HttpSettings(port=0, grace_period=5.0, api_keys=("ann", "bob"))
    cache = ResponseCacheSettings(max_bytes=1 << 20, store=store, store_timeout=5.0)
    settings = Settings(http=http, response_cache=cache, log=LogSettings(level="debug"))
    residency = Residency(ResidencySettings(memory_budget=10, min_residence=0.0))
    models = {name: LoadedOnDemand(model=name) for name in ("one", "two")}
    registry = Registry({name: residency.add(name, engine) for name, engine in models.items()}, {"chat": "one"})
    output = io.StringIO()
    logger, admission = make_logger(settings.log, output), Admission(100)
    app = create_app(settings, registry, admission=admission, logger=logger)
    administration = create_admin_app(registry, http.api_keys, logger, CacheAdministration(app.response_cache))
    listener, admin_listener = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
    ready = asyncio.Event()
    serving = Serving(app, http, registry.models, admission, logger, on_ready=ready.set, admin=administration)  # type: ignore[arg-type]
    running = asyncio.create_task(serving.run(listener, admin_listener))
    await ready.wait()
    url, admin = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in (listener, admin_listener))
    try:
        async with aiohttp.ClientSession() as client:
            yield Operated(url, admin, models, client, output)
    finally:
        serving.stop()
        await running
        await app.aclose()


async def test_a_hit_loads_no_model() -> None:
    async with operated() as server:
        one, two = server.models.values()
        assert await server.ask("one") == ("miss", "one 1")
        assert await server.ask("two") == ("miss", "two 1")
        assert (one.is_loaded, two.is_loaded) == (False, True)
        assert [await server.ask("one") for _ in range(3)] == [("hit", "one 1")] * 3
        assert (one.was_loaded, two.was_loaded) == (1, 1)
        # What has to be generated loads it.
        assert await server.ask("one", cache=False) == ("bypass", "one 2")
        assert (one.is_loaded, one.was_loaded, two.is_loaded) == (True, 2, False)


async def test_an_answer_of_a_model_that_has_become_another_while_it_was_loaded_is_not_kept() -> None:
    async with operated() as server:
        one = server.models["one"]
        await server.ask("one")
        await server.ask("two")
        load = one.load

        async def load_another() -> None:
            await load()
            one.model = "another"

        one.load = load_another  # type: ignore[method-assign]
        assert (await server.ask("one", seed=5))[0] == "miss"
        one.model = "one"
        assert (await server.ask("one", seed=5))[0] == "miss"


async def test_a_promoted_alias_finds_no_answer_of_what_it_meant_before() -> None:
    async with operated() as server:
        assert await server.ask("chat") == ("miss", "one 1")
        assert await server.ask("chat") == ("hit", "one 1")
        assert (await server.operate("models", "promote", "chat", "two"))[0] == 0
        assert await server.ask("chat") == ("miss", "two 1")
        assert await server.ask("chat") == ("hit", "two 1")
        assert (await server.operate("models", "rollback", "chat"))[0] == 0
        assert await server.ask("chat") == ("hit", "one 1")


async def test_answers_are_purged_by_the_command_line_in_memory_and_in_the_store(tmp_path: Path) -> None:
    async with operated(f"sqlite:///{tmp_path}/answers.db") as server:

        async def results() -> list[str | None]:
            return [(await server.ask(model, key))[0] for model in ("one", "two") for key in ("ann", "bob")]

        assert await results() == ["miss"] * 4
        await asyncio.sleep(0.3)
        assert await results() == ["hit"] * 4
        assert await server.operate("cache", "purge", "--model", "two") == (0, "purged: 2 in memory, 2 in the store")
        assert await results() == ["hit", "hit", "miss", "miss"]
        await asyncio.sleep(0.3)
        _, stats = await server.operate("cache", "stats", "--json")
        tenants = json.loads(stats)["memory"]["tenants"]
        assert json.loads(stats)["store"]["answers"] == 4
        assert sorted(tenants.values()) == [2, 2]
        tenant = next(iter(tenants))
        assert await server.operate("cache", "purge", "--tenant", tenant) == (0, "purged: 2 in memory, 2 in the store")
        assert sorted(str(one) for one in await results()) == ["hit", "hit", "miss", "miss"]
        await asyncio.sleep(0.3)
        key = server.logged("request")[0]["cache_key"]
        assert await server.operate("cache", "purge", "--key", key) == (0, "purged: 1 in memory, 1 in the store")
        assert await server.operate("cache", "purge", "--all") == (0, "purged: 3 in memory, 3 in the store")
        assert server.logged("response cache purged")[-1]["memory"] == 3
        assert "0 answers" in (await server.operate("cache", "stats"))[1]
        for wrong in ([], ["--key", "abc"], ["--all", "--tenant", "t"]):
            assert (await server.operate("cache", "purge", *wrong))[0] != 0
        async with server.client.delete(
            f"{server.admin}/response-cache", headers={"Authorization": "Bearer ann"}
        ) as answer:
            assert answer.status == 400
        async with server.client.delete(f"{server.admin}/response-cache?all=true") as answer:
            assert answer.status == 401


async def test_what_is_under_way_when_it_is_purged_is_not_kept() -> None:
    async with operated() as server:
        await server.ask("one")
        go = asyncio.Event()
        server.models["one"].script = lambda request: [go, *says("late")]
        asked = asyncio.create_task(server.ask("one", seed=1))
        async with asyncio.timeout(5):
            while len(server.models["one"].left) < 2:  # noqa: ASYNC110 (a list has no event)
                await asyncio.sleep(0.01)
        await server.operate("cache", "purge", "--model", "one")
        go.set()
        assert await asked == ("miss", "late")
        assert (await server.ask("one", seed=1))[0] == "miss"


async def test_a_purge_that_reached_the_memory_alone_says_so() -> None:
    async with operated("redis://127.0.0.1:1") as server:
        await server.ask("one")
        code, told = await server.operate("cache", "purge", "--all")
        assert code == 1
        assert "The memory was purged; the store was not" in told
        assert (await server.ask("one"))[0] == "miss"
        assert json.loads((await server.operate("cache", "stats", "--json"))[1])["store"]["away"]
