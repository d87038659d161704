"""Models within a budget, on engines that take what they are told to take."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pennyweight.server.config import ResidencySettings
from pennyweight.server.engines.base import Capabilities, EngineStats, Health, HealthState, Leased, Manageable
from pennyweight.server.engines.residency import Load, Residency
from pennyweight.server.errors import InvalidRequest, ModelError, ModelUnavailable, Overloaded, ShuttingDown
from pennyweight.server.types import Embeddings, EmbedRequest, Event, Prompt, Request


class Weighty:
    """A Manageable of a given size, and of ``asleep`` while it sleeps; ``trouble`` is raised by its next load or sleep."""

    def __init__(self, size: int, *, expected: int | None = None, asleep: int | None = None) -> None:
        self.size = size
        self.asleep = asleep
        self.is_asleep = False
        self.expected = size if expected is None else expected
        self.is_loaded = False
        self.loads = 0
        self.trouble: Exception | None = None

    async def load(self) -> None:
        await asyncio.sleep(0.01)
        if self.trouble is not None:
            raise self.trouble
        self.is_loaded, self.is_asleep = True, False
        self.loads += 1

    async def unload(self) -> None:
        await asyncio.sleep(0.005)
        self.is_loaded = self.is_asleep = False

    async def sleep(self, level: int) -> None:
        await asyncio.sleep(0.005)
        self.is_loaded = False
        if self.trouble is not None:
            raise self.trouble
        self.is_asleep = True

    def sleep_levels(self) -> frozenset[int]:
        return frozenset({1}) if self.asleep is not None and self.loads else frozenset()

    def resident_bytes(self) -> int:
        return self.size if self.is_loaded else (self.asleep or 0) if self.is_asleep else 0

    def expected_bytes(self) -> int:
        return self.expected

    def health(self) -> Health:
        return Health(state=HealthState.READY if self.is_loaded else HealthState.UNLOADED)

    def generate(self, request: Request) -> AsyncGenerator[Event]:
        raise NotImplementedError

    async def embed(self, request: EmbedRequest) -> Embeddings:
        raise NotImplementedError

    def capabilities(self) -> Capabilities:
        raise NotImplementedError

    async def tokenize(self, prompt: Prompt) -> list[int]:
        raise NotImplementedError

    async def detokenize(self, token_ids: list[int]) -> str:
        raise NotImplementedError

    def stats(self) -> EngineStats:
        return EngineStats()

    async def aclose(self) -> None:
        await self.unload()


@asynccontextmanager
async def residency(loads: list[Load] | None = None, **settings: Any) -> AsyncIterator[Residency]:
    chosen = ResidencySettings(**({"min_residence": 0.0} | settings))
    opened = Residency(chosen, on_load=(loads if loads is not None else []).append)
    opened.start()
    try:
        yield opened
    finally:
        await opened.aclose()


def test_the_protocols_are_kept() -> None:
    engine = Weighty(1)
    assert isinstance(engine, Manageable)
    assert isinstance(Residency(ResidencySettings()).add("a", engine), Leased)


async def test_a_model_is_loaded_once_for_all_who_come() -> None:
    async with residency(memory_budget=10) as models:
        engine = Weighty(5)
        resident = models.add("a", engine)

        async def use() -> None:
            async with resident.lease():
                assert engine.is_loaded

        await asyncio.gather(*(use() for _ in range(20)))
        assert engine.loads == 1


async def test_two_that_fit_stay_and_a_third_takes_the_place_of_the_one_used_longest_ago() -> None:
    loads: list[Load] = []
    async with residency(loads, memory_budget=10) as models:
        engines = {name: Weighty(5) for name in "abc"}
        residents = {name: models.add(name, engine) for name, engine in engines.items()}
        for name in "abac":
            async with residents[name].lease():
                pass
        assert {name for name, engine in engines.items() if engine.is_loaded} == {"a", "c"}
        assert [(load.model, load.kind) for load in loads] == [("a", "cold"), ("b", "cold"), ("c", "swapped")]


async def test_one_with_a_level_sleeps_where_others_are_dropped_and_wakes_for_the_next_request() -> None:
    loads: list[Load] = []
    async with residency(loads, memory_budget=10) as models:
        sleeper, other = Weighty(6, asleep=2), Weighty(7)
        one, two = models.add("a", sleeper, sleep_level=1), models.add("b", other, sleep_level=1)
        for resident in (one, two, one):
            async with resident.lease():
                assert resident.engine.resident_bytes() > 5
        assert not sleeper.is_asleep
        assert other.resident_bytes() == 0  # it has no level, and was dropped
        assert [load.kind for load in loads] == ["cold", "swapped", "swapped"]
        await one.sleep(1)
        assert sleeper.is_asleep
        async with one.lease():
            pass
        assert loads[-1].kind == "warm"


async def test_sleepers_are_dropped_when_sleeping_is_not_enough() -> None:
    async with residency(memory_budget=10) as models:
        engines = [Weighty(6, asleep=3) for _ in range(3)]
        residents = [models.add(str(place), engine, sleep_level=1) for place, engine in enumerate(engines)]
        for resident in residents:
            async with resident.lease():
                pass
        assert [engine.resident_bytes() for engine in engines] == [0, 3, 6]


async def test_a_wish_for_sleep_that_cannot_be_is_refused_and_one_that_fails_drops_the_model() -> None:
    async with residency(memory_budget=10) as models:
        engine = Weighty(6, asleep=2)
        resident = models.add("a", engine)
        with pytest.raises(InvalidRequest, match="can't sleep"):
            await resident.sleep(1)
        await resident.load()
        with pytest.raises(InvalidRequest, match="has the levels 1"):
            await resident.sleep(2)
        engine.trouble = ModelError("no host memory is left")
        with pytest.raises(ModelUnavailable, match="was dropped: no host memory is left"):
            await resident.sleep(1)
        engine.trouble = None
        await resident.load()
        assert engine.resident_bytes() == 6


async def test_an_idle_one_with_a_level_falls_asleep() -> None:
    async with residency(memory_budget=10, idle_timeout=0.05) as models:
        engine = Weighty(6, asleep=2)
        await models.add("a", engine, sleep_level=1).load()
        async with asyncio.timeout(5):
            while not engine.is_asleep:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_200_requests_that_alternate_at_random_all_succeed_and_the_budget_is_kept() -> None:
    async with residency(memory_budget=8, min_residence=0.05) as models:
        engines = [Weighty(5), Weighty(6)]
        residents = [models.add(str(place), engine) for place, engine in enumerate(engines)]
        generator = random.Random(0)

        async def use() -> None:
            place = generator.randrange(2)
            async with residents[place].lease():
                assert engines[place].is_loaded
                assert sum(engine.resident_bytes() for engine in engines) <= 8
                await asyncio.sleep(0.002)
                assert engines[place].is_loaded

        tasks = []
        began = time.monotonic()
        for _ in range(200):
            tasks.append(asyncio.create_task(use()))
            await asyncio.sleep(0.002)
        await asyncio.gather(*tasks)
        # Each stay is at least as long as it was promised: there is no thrash.
        assert sum(engine.loads for engine in engines) <= (time.monotonic() - began) / 0.05 + 1


async def test_a_model_under_load_gives_way_once_its_residence_is_over() -> None:
    async with residency(memory_budget=5, min_residence=0.1) as models:
        busy, other = models.add("busy", Weighty(5)), models.add("other", Weighty(5))
        is_done = False

        async def keep_busy() -> None:
            while not is_done:
                async with busy.lease():
                    await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(keep_busy()) for _ in range(4)]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(1), other.lease():
            assert not busy.is_loaded
        is_done = True
        await asyncio.gather(*tasks)


async def test_a_pinned_model_is_never_dropped() -> None:
    async with residency(memory_budget=8) as models:
        pinned = models.add("pinned", Weighty(5), pinned=True)
        await pinned.start()
        small, large = models.add("small", Weighty(3)), models.add("large", Weighty(4))
        async with small.lease():
            pass
        with pytest.raises(ModelUnavailable, match="of a budget of 8"):
            async with large.lease():
                pass
        assert pinned.is_loaded


async def test_a_model_that_turns_out_larger_makes_room_or_is_refused() -> None:
    async with residency(memory_budget=8) as models:
        first = models.add("first", Weighty(4))
        grown = models.add("grown", Weighty(7, expected=2))
        async with first.lease():
            pass
        async with grown.lease():
            assert not first.is_loaded
        huge = models.add("huge", Weighty(9, expected=2))
        with pytest.raises(ModelUnavailable, match="huge could not be loaded"):
            async with huge.lease():
                pass
        assert not huge.is_loaded


async def test_a_failed_load_says_why_and_harms_nobody_else() -> None:
    async with residency(memory_budget=20) as models:
        engine = Weighty(5)
        engine.trouble = ModelError("the file is cut")
        bad, good = models.add("bad", engine), models.add("good", Weighty(5))

        async def use_bad() -> None:
            async with bad.lease():
                pass

        for failed in await asyncio.gather(*(use_bad() for _ in range(3)), return_exceptions=True):
            assert isinstance(failed, ModelUnavailable)
            assert "the file is cut" in failed.message
        assert bad.health() == Health(
            state=HealthState.FAILED, detail="The model bad could not be loaded: the file is cut"
        )
        async with good.lease():
            pass


async def test_no_more_wait_than_may() -> None:
    async with residency(memory_budget=5, max_queue=2) as models:
        resident = models.add("a", Weighty(5))

        async def use() -> str:
            async with resident.lease():
                return "done"

        found = await asyncio.gather(*(use() for _ in range(3)), return_exceptions=True)
        assert found[:2] == ["done", "done"]
        assert isinstance(found[2], Overloaded)


async def test_one_who_leaves_while_waiting_is_not_counted() -> None:
    async with residency(memory_budget=5) as models:
        resident, other = models.add("a", Weighty(5)), models.add("b", Weighty(5))

        async def use() -> None:
            async with resident.lease():
                pass

        task = asyncio.create_task(use())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(1), other.lease():
            pass
        assert resident.users == 0


async def test_an_idle_model_is_dropped_after_its_time() -> None:
    async with residency(memory_budget=5, idle_timeout=0.1) as models:
        resident = models.add("a", Weighty(5))
        async with resident.lease():
            await asyncio.sleep(0.3)
            assert resident.is_loaded
        async with asyncio.timeout(5):
            while resident.is_loaded:  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.02)


async def test_those_who_wait_are_told_of_the_end() -> None:
    async with residency(memory_budget=5, min_residence=10) as models:
        first, second = models.add("a", Weighty(5)), models.add("b", Weighty(5))
        async with first.lease():
            pass

        async def use() -> None:
            async with second.lease():
                pass

        task = asyncio.create_task(use())
        await asyncio.sleep(0.05)
        await models.aclose()
        with pytest.raises(ShuttingDown):
            await task


async def test_an_operator_may_load_and_drop_also_a_pinned_model() -> None:
    async with residency(memory_budget=5) as models:
        resident = models.add("a", Weighty(5), pinned=True)
        await resident.load()
        assert resident.is_loaded
        async with asyncio.timeout(5):
            await resident.unload()
        assert not resident.is_loaded
        async with resident.lease():
            assert resident.is_loaded


async def test_a_pinned_model_is_not_ready_before_it_was_loaded() -> None:
    async with residency(memory_budget=5) as models:
        resident = models.add("a", Weighty(5), pinned=True)
        assert resident.health().state is HealthState.LOADING
        await resident.start()
        assert resident.health().state is HealthState.READY
        await resident.unload()
        assert resident.health().state is HealthState.UNLOADED
