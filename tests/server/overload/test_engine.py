"""An engine of a fixed capacity within its limit: what it is given, what is refused, and what becomes of both when it changes."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
import pytest
from fakes.fixed_engine import FixedEngine
from fakes.live_server import CHAT, LiveEngine, live_server
from fakes.scripted_engine import says

from pennyweight.server.config import OverloadSettings
from pennyweight.server.engines.adapters import EngineAround
from pennyweight.server.errors import EngineDead, Overloaded, PennyweightError
from pennyweight.server.overload.limiter import Limiter
from pennyweight.server.overload.overload import LimitedEngine, Overload
from pennyweight.server.types import Event, Finished, Request, SamplingParams, Started, TextPrompt, Usage

pytestmark = pytest.mark.serial

BASE = Request(id="r", model="m", prompt=TextPrompt(text="Hi"), sampling=SamplingParams())


class Load:
    """Requests to an engine, and how they ended: seconds until their start, or until they were refused."""

    def __init__(self, engine: LimitedEngine) -> None:
        self.engine = engine
        self.starts: list[tuple[float, float]] = []
        self.refusals: list[float] = []
        self.retry_after: list[float] = []
        self.errors: Counter[str] = Counter()

    async def one(self, priority: int = 0) -> None:
        now = time.monotonic()
        request = msgspec.structs.replace(BASE, priority=priority, arrival=now)
        try:
            async with aclosing(self.engine.generate(request)) as events:
                async for event in events:
                    if isinstance(event, Started):
                        self.starts.append((time.monotonic(), time.monotonic() - now))
        except Overloaded as error:
            self.refusals.append(time.monotonic() - now)
            self.retry_after.append(error.retry_after or 0.0)
        except PennyweightError as error:
            self.errors[str(error.code)] += 1

    async def at(self, rate: float, seconds: float, seed: int = 0) -> None:
        """Poisson arrivals, whatever is answered."""
        generator = random.Random(seed)
        async with asyncio.TaskGroup() as running:
            at, began = 0.0, time.monotonic()
            while (at := at + generator.expovariate(rate)) < seconds:
                await asyncio.sleep(began + at - time.monotonic())
                running.create_task(self.one())

    async def closed(self, clients: int, count: int) -> float:
        """So many clients with so many requests each; requests per second."""

        async def client() -> None:
            for _ in range(count):
                await self.one()

        began = time.monotonic()
        async with asyncio.TaskGroup() as running:
            for _ in range(clients):
                running.create_task(client())
        return clients * count / (time.monotonic() - began)


def limited(engine: FixedEngine, max_wait: float | None = None) -> tuple[LimitedEngine, Limiter]:
    overload = Overload(OverloadSettings(max_wait=max_wait))
    around = overload.around(engine)
    assert isinstance(around, LimitedEngine)
    return around, overload.limiter(engine)


@pytest.mark.parametrize("tells_queue", [True, False])
async def test_at_five_times_the_capacity_the_engine_is_kept_full_and_its_queue_short(tells_queue: bool) -> None:
    inside = FixedEngine(places=8, seconds=0.06, tells_queue=tells_queue)
    engine, limiter = limited(inside, max_wait=0.15)
    load = Load(engine)
    capacity = 8 / 0.06
    began = time.monotonic()
    await load.at(5 * capacity, 2.0)
    seconds = time.monotonic() - began
    assert len(load.starts) > 0.5 * capacity * seconds
    late = [wait for at, wait in load.starts if at > began + 0.5]
    assert sorted(late)[len(late) * 9 // 10] < 0.6
    assert sum(one > 0.05 for one in load.refusals) < 0.05 * len(load.refusals)
    assert len(load.refusals) > 2 * len(load.starts)
    assert min(load.retry_after) > 0
    assert max(load.retry_after) < 2.0
    assert limiter.in_flight == limiter.starting == len(limiter.line) == 0


async def test_an_engine_that_becomes_half_as_large_is_given_less_and_more_again_afterwards() -> None:
    inside = FixedEngine(places=16, seconds=0.06)
    engine, limiter = limited(inside, max_wait=0.2)
    load = Load(engine)
    in_flight: dict[int, list[int]] = {}
    running = asyncio.create_task(load.at(800, 4.0))
    for phase, places in enumerate((16, 8, 16)):
        inside.places = places
        await asyncio.sleep(0.5)
        in_flight[phase] = []
        for _ in range(40):
            await asyncio.sleep(0.01)
            in_flight[phase].append(limiter.in_flight)
    await running
    means = {phase: sum(found) / len(found) for phase, found in in_flight.items()}
    assert means[0] > 14
    assert 7 <= means[1] < 0.8 * means[0]
    assert means[2] > 1.2 * means[1]


async def test_an_engine_that_becomes_half_as_quick_makes_nobody_wait_for_longer() -> None:
    inside = FixedEngine(places=8, seconds=0.04)
    engine, _ = limited(inside, max_wait=0.2)
    load = Load(engine)
    running = asyncio.create_task(load.at(800, 3.0))
    await asyncio.sleep(1.0)
    inside.seconds, changed = 0.08, time.monotonic()
    await running
    waits = sorted(wait for at, wait in load.starts if at > changed + 0.5)
    assert waits[len(waits) * 9 // 10] < 0.6
    assert len(waits) > 0.4 * 8 / 0.08 * 1.5


@pytest.mark.parametrize("clients", [1, 32, 200])
async def test_an_engine_that_begins_many_at_a_time_is_not_starved(clients: int) -> None:
    def make() -> FixedEngine:
        return FixedEngine(places=1000, seconds=0.03, start_seconds=0.02, tells_queue=False)

    plain = Load(LimitedEngine(make(), Limiter()))
    plain.engine = make()  # type: ignore[assignment]
    without = await plain.closed(clients, 6)
    engine, limiter = limited(make())
    within = await Load(engine).closed(clients, 6)
    assert not limiter.refused
    assert within > 0.5 * without


async def test_answers_keep_the_pace_that_they_are_to_have() -> None:
    class Slowing(FixedEngine):
        """A step takes as long as there are requests in it."""

        async def generate(self, request: Request) -> AsyncGenerator[Event]:
            self.has += 1
            self.most = max(self.most, self.has)
            try:
                yield Started(request_id=request.id, model=request.model, fingerprint="fp", queue_seconds=0.0)
                for delta in says(*"Hello Peru"):
                    await asyncio.sleep(0.002 * self.has)
                    yield delta
                yield Finished(usage=Usage(prompt_tokens=1, completion_tokens=10))
            finally:
                self.has -= 1

    inside = Slowing()
    limiter = Limiter(max_wait=0.3, max_tpot=0.05)
    engine = LimitedEngine(inside, limiter)
    running = asyncio.create_task(Load(engine).at(200, 6.0))
    await asyncio.sleep(4.0)
    # 25 would take 0.05 s for a step, and twice as many came in the time of an answer.
    assert 2 <= limiter.batch.size <= 40
    await running
    assert limiter.in_flight == 0


async def test_an_engine_with_32_places_runs_32_streams_as_without_a_limit() -> None:
    def make() -> FixedEngine:
        return FixedEngine(places=32, seconds=0.05)

    plain = Load(LimitedEngine(make(), Limiter()))
    plain.engine = make()  # type: ignore[assignment]
    without = await plain.closed(32, 10)
    inside = make()
    within = await Load(limited(inside)[0]).closed(32, 10)
    assert inside.most == 32
    assert within > 0.7 * without


async def test_an_idle_engine_refuses_nothing() -> None:
    inside = FixedEngine(places=4, seconds=0.02)
    engine, limiter = limited(inside, max_wait=0.1)
    load = Load(engine)
    await load.at(40, 2.0)
    assert not limiter.refused
    assert not load.refusals


async def test_better_classes_are_served_and_worse_ones_refused() -> None:
    inside = FixedEngine(places=4, seconds=0.04)
    engine, _limiter = limited(inside, max_wait=0.15)
    good, batch = Load(engine), Load(engine)

    async def comes(load: Load, priority: int) -> None:
        generator = random.Random(priority)
        async with asyncio.TaskGroup() as running:
            for _ in range(150):
                await asyncio.sleep(generator.expovariate(70))
                running.create_task(load.one(priority))

    # 100 a second can be served: each class alone could be, both together can't.
    await asyncio.gather(comes(good, 0), comes(batch, 10))
    assert len(good.starts) > 0.85 * 150
    assert len(batch.refusals) > 2 * len(good.refusals)
    assert 5 < len(batch.starts) < 130


async def test_errors_and_leaving_give_places_back() -> None:
    inside = LiveEngine(refusal=lambda request: EngineDead("No."))
    engine, limiter = Overload(OverloadSettings()).around(inside), Limiter()
    assert isinstance(engine, LimitedEngine)
    limiter = engine._limiter
    for _ in range(100):
        with pytest.raises(EngineDead):
            await anext(engine.generate(BASE))
    inside.refusal = lambda request: None
    inside.script = lambda request: [says("Hello")[0], EngineDead("Now."), *says()]
    for _ in range(100):
        with pytest.raises(EngineDead):
            async for _ in engine.generate(BASE):
                pass
    for _ in range(100):
        async with aclosing(engine.generate(BASE)) as events:
            await anext(events)
    assert limiter.in_flight == limiter.starting == 0
    assert not limiter._calls


async def test_a_model_and_what_stands_around_it_have_one_limit() -> None:
    overload = Overload(OverloadSettings())
    engine, other = FixedEngine(), FixedEngine()
    assert overload.limiter(EngineAround(EngineAround(engine))) is overload.limiter(engine)
    assert overload.limiter(other) is not overload.limiter(engine)


async def test_a_refusal_is_openais_and_says_when_to_come_back() -> None:
    class Silent(LiveEngine):
        """Begins nothing."""

        async def generate(self, request: Request) -> AsyncGenerator[Event]:
            await asyncio.Event().wait()
            yield Finished(usage=Usage(prompt_tokens=0, completion_tokens=0))

    async with live_server(Silent(), overload={"max_wait": 0.05}) as server:

        async def ask(**fields: object) -> tuple[int, str | None, dict[str, object]]:
            async with server.client.post("/v1/chat/completions", json=CHAT | fields) as answer:
                return answer.status, answer.headers.get("retry-after"), await answer.json()

        first = [asyncio.create_task(ask()) for _ in range(16)]
        await asyncio.sleep(0.1)
        for stream in (False, True):
            status, retry_after, body = await ask(stream=stream)
            assert status == 429
            assert retry_after is not None
            assert int(retry_after) >= 1
            error = body["error"]
            assert isinstance(error, dict)
            assert (error["code"], error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
        async with server.client.get("/metrics") as answer:
            text = await answer.text()
        assert 'overload_refused_total{class="default",model_name="scripted",reason="waited"} 2.0' in text
        assert 'overload_window{model_name="scripted"} 16.0' in text
        assert 'overload_starting{model_name="scripted"} 16.0' in text
        assert 'overload_queued{class="default",model_name="scripted"} 0.0' in text
        for task in first:
            task.cancel()
        await asyncio.wait(first)


async def test_a_hit_of_the_response_cache_is_never_refused() -> None:
    go = asyncio.Event()

    class Held(LiveEngine):
        """Begins nothing before it may, but for the request with seed 1."""

        async def generate(self, request: Request) -> AsyncGenerator[Event]:
            if request.sampling.seed != 1:
                await go.wait()
            async with aclosing(super().generate(request)) as events:
                async for event in events:
                    yield event

    async with live_server(Held(), overload={"max_wait": 0.05}, response_cache={"max_bytes": 1 << 20}) as server:

        async def ask(**fields: object) -> tuple[int, str | None]:
            async with server.client.post("/v1/chat/completions", json=CHAT | fields) as answer:
                await answer.read()
                return answer.status, answer.headers.get("x-pennyweight-cache")

        assert await ask(seed=1) == (200, "miss")
        # More than the window has places for: some wait, and all that come later are refused.
        others = [asyncio.create_task(ask(seed=number)) for number in range(0, -40, -1)]
        async with asyncio.timeout(5):
            while sum(task.done() for task in others) < 40 - 16:  # noqa: ASYNC110 (a list of tasks has no event)
                await asyncio.sleep(0.01)
        assert {task.result()[0] for task in others if task.done()} == {429}
        assert await ask(seed=1) == (200, "hit")
        go.set()
        await asyncio.wait(others)


async def test_without_the_limit_the_engine_has_all_that_come() -> None:
    go = asyncio.Event()
    engine = LiveEngine(script=lambda request: [go, *says("Hello")])
    async with live_server(engine, overload={"adaptive": False}) as server:

        async def ask() -> int:
            async with server.client.post("/v1/chat/completions", json=CHAT) as answer:
                return answer.status

        asked = [asyncio.create_task(ask()) for _ in range(50)]
        async with asyncio.timeout(5):
            while len(engine.left) < 50:  # noqa: ASYNC110 (a list has no event)
                await asyncio.sleep(0.01)
        go.set()
        assert await asyncio.gather(*asked) == [200] * 50
        async with server.client.get("/metrics") as answer:
            assert "overload_" not in await answer.text()
