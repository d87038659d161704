"""The second level: a store that is away, slow or full of rubbish costs a miss, a count and a line in the log, and no client hears of it."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.redis_server import needs_redis, redis_server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pennyweight.server.cache.breaker import Breaker
from pennyweight.server.cache.label import Label, Selection
from pennyweight.server.cache.open_cache import open_store, shown_store
from pennyweight.server.cache.sealing import Sealer
from pennyweight.server.cache.second_level import Found, SecondLevel
from pennyweight.server.cache.store import StoredAnswer, encode_answer
from pennyweight.server.cache.store_base import Row, RowSelection, Store, StoreFailed, StoreStats
from pennyweight.server.config import LogSettings
from pennyweight.server.errors import ConfigError
from pennyweight.server.telemetry.logs import make_logger
from pennyweight.server.types import Delta, Finished, FinishReason, Started, Usage

LABEL = Label("tenant", "m", "m")
MASTER = bytes(range(32))


def answer(text: str = "Hello") -> StoredAnswer:
    delta = Delta(index=0, text=text, token_ids=(1,), finish_reason=FinishReason.STOP)
    started = Started(request_id="r", model="m", fingerprint="fp")
    return StoredAnswer(started, (delta,), Finished(usage=Usage(prompt_tokens=1, completion_tokens=1)))


ENCODED = encode_answer(answer())


def key(number: int) -> bytes:
    return number.to_bytes(32)


class Clock:
    now = 5000.0

    def __call__(self) -> float:
        return self.now


class Level:
    """A SecondLevel with what it wrote into the log."""

    def __init__(self, store: Store, sealer: Sealer | None = None, *, timeout: float = 0.5, ttl: float = 60.0) -> None:
        self.output = io.StringIO()
        self.clock, self.wall = Clock(), Clock()
        self.wall.now = time.time()
        logger = make_logger(LogSettings(), self.output)
        self.second = SecondLevel(
            store, sealer or Sealer(), logger, ttl=ttl, timeout=timeout, clock=self.clock, wall_clock=self.wall
        )

    @property
    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.output.getvalue().splitlines()]

    async def written(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.second.written < count:  # noqa: ASYNC110 (a count has no event)
                await asyncio.sleep(0.005)


@asynccontextmanager
async def level(url: str, **options: Any) -> AsyncIterator[Level]:
    found = Level(open_store(url, 1 << 24), **options)
    try:
        yield found
    finally:
        await found.second.aclose()


class FaultyStore:
    """A Store in a dictionary, which does before each call what a test tells it to."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}
        self.calls = 0
        self.before: Callable[[], Any] | None = None

    async def _call(self) -> None:
        self.calls += 1
        if self.before is not None and (waiting := self.before()) is not None:
            await waiting

    async def get(self, key: bytes) -> bytes | None:
        await self._call()
        return self.rows[key].sealed if key in self.rows else None

    async def put(self, rows: Sequence[Row]) -> None:
        await self._call()
        self.rows |= {row.key: row for row in rows}

    async def delete(self, keys: Sequence[bytes]) -> None:
        await self._call()
        for key in keys:
            self.rows.pop(key, None)

    async def touch(self, keys: Sequence[bytes]) -> None:
        await self._call()

    async def purge(self, selection: RowSelection) -> int:
        await self._call()
        count = len(self.rows)
        self.rows.clear()
        return count

    async def stats(self) -> StoreStats:
        return StoreStats(answers=len(self.rows), nbytes=None)

    async def aclose(self) -> None: ...


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=needs_redis)])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/answers.db"
        return
    async with redis_server() as server:
        yield server.url


@pytest.mark.parametrize("master", [None, MASTER])
async def test_what_is_kept_is_found_by_the_next_server_with_its_age(url: str, master: bytes | None) -> None:
    async with level(url, sealer=Sealer(master)) as first:
        first.second.keep(key(1), LABEL, ENCODED)
        # Flushed at the end, without a wait before.
    async with level(url, sealer=Sealer(master)) as second:
        second.wall.now = first.wall.now + 30
        assert await second.second.find(key(1), "tenant") == Found(answer(), ENCODED, 30.0)
        assert await second.second.find(key(2), "tenant") is None
        second.wall.now += 31
        assert await second.second.find(key(1), "tenant") is None
        assert "corrupt" in second.second.errors or not second.second.errors


@pytest.mark.parametrize("master", [None, MASTER])
async def test_purging_reaches_what_is_selected_and_nothing_else(url: str, master: bytes | None) -> None:
    labels = [Label("t", "m", "m"), Label("u", "m", "alias"), Label("u", "n", "n")]
    selections: list[tuple[Selection, list[int]]] = [
        (Selection(tenant="t"), [1, 2]),
        (Selection(model="m"), [2]),
        (Selection(model="alias"), [0, 2]),
        (Selection(tenant="u", model="n"), [0, 1]),
        (Selection(key=key(1)), [0, 2]),
        (Selection(), []),
    ]
    async with level(url, sealer=Sealer(master)) as one:
        for selection, left in selections:
            for number, label in enumerate(labels):
                one.second.keep(key(number), label, ENCODED)
            await one.written(one.second.written + 3)
            assert await one.second.purge(selection) == 3 - len(left)
            found = [await one.second.find(key(number), label.tenant) for number, label in enumerate(labels)]
            assert [number for number, answer in enumerate(found) if answer is not None] == left


@pytest.mark.parametrize("master", [None, MASTER])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.booleans()), max_size=12))
async def test_no_answer_crosses_tenants_or_keys(
    url: str, master: bytes | None, asked: list[tuple[str, int, bool]]
) -> None:
    kept: dict[tuple[str, int], str] = {}
    async with level(url, sealer=Sealer(master)) as one:
        await one.second.purge(Selection())
        for tenant, number, is_kept in asked:
            # As request_key makes them: a tenant is in its keys.
            own = (ord(tenant) * 10 + number).to_bytes(32)
            if is_kept:
                text = f"{tenant} {number} {len(kept)}"
                one.second.keep(own, Label(tenant, "m", "m"), encode_answer(answer(text)))
                await one.written(one.second.written + 1)
                kept[tenant, number] = text
            found = await one.second.find(own, tenant)
            assert (None if found is None else found.answer.deltas[0].text) == kept.get((tenant, number))


async def test_a_row_that_was_swapped_for_another_tenant_s_is_a_miss_and_is_deleted() -> None:
    store = FaultyStore()
    for sealer in (Sealer(), Sealer(MASTER)):
        one = Level(store, sealer)
        one.second.keep(key(1), Label("a", "m", "m"), ENCODED)
        one.second.keep(key(2), Label("b", "m", "m"), ENCODED)
        await one.written(2)
        first, second = sealer.stored_key(key(1)), sealer.stored_key(key(2))
        store.rows[second] = store.rows[first]
        assert await one.second.find(key(2), "b") is None
        assert await one.second.find(key(1), "a") is not None
        await one.second.aclose()
        assert one.second.errors == {"corrupt": 1}
        assert second not in store.rows


@given(st.binary(max_size=100))
async def test_rubbish_under_a_key_is_a_miss_whatever_it_is(rubbish: bytes) -> None:
    store = FaultyStore()
    one = Level(store)
    for sealed in (rubbish, Sealer().seal(rubbish, key(1), "tenant", one.wall.now)):
        store.rows[key(1)] = Row(key=key(1), tenant=b"", model="", asked="", expires=9e9, sealed=sealed)
        assert await one.second.find(key(1), "tenant") is None
    await one.second.aclose()
    assert one.second.errors["corrupt"] == 2
    assert key(1) not in store.rows
    assert one.events == []


async def test_a_slow_store_costs_its_time_a_few_times_and_then_none() -> None:
    store = FaultyStore()
    one = Level(store, timeout=0.02)
    store.before = lambda: asyncio.sleep(30)
    for _ in range(20):
        assert await one.second.find(key(1), "tenant") is None
    assert store.calls == 3
    assert one.second.errors == {"timeout": 3}
    assert one.events == ["response cache store is away"]
    # One attempt after a rest, which is twice as long each time.
    for rest, calls in ((1.1, 4), (1.1, 4), (1.1, 5), (2.1, 5), (2.1, 6)):
        one.clock.now += rest
        await one.second.find(key(1), "tenant")
        assert store.calls == calls
    store.before = None
    one.clock.now += 60
    await one.second.find(key(1), "tenant")
    await one.second.find(key(1), "tenant")
    assert store.calls == 8
    assert one.events == ["response cache store is away", "response cache store is back"]
    await one.second.aclose()


async def test_what_fails_to_be_written_is_dropped_and_counted() -> None:
    store = FaultyStore()
    one = Level(store)

    def fail() -> None:
        raise StoreFailed("No.")

    store.before = fail
    for number in range(300):
        one.second.keep(key(number), LABEL, ENCODED)
    await one.second.aclose()
    assert one.second.errors["dropped"] == 300
    assert one.events == ["response cache store is away"]


async def test_no_more_waits_to_be_written_than_there_is_room_for() -> None:
    store = FaultyStore()
    one = Level(store)
    go = asyncio.Event()
    store.before = go.wait
    for number in range(3000):
        one.second.keep(key(number), LABEL, ENCODED)
    assert one.second.errors["dropped"] == 3000 - 1024
    go.set()
    await one.second.aclose()
    assert len(store.rows) == 1024


async def test_a_purge_reaches_what_waits_and_what_is_being_written() -> None:
    store = FaultyStore()
    one = Level(store)
    go = asyncio.Event()
    store.before = go.wait
    for number in range(200):
        one.second.keep(key(number), LABEL, ENCODED)
    await asyncio.sleep(0.02)
    purging = asyncio.create_task(one.second.purge(Selection()))
    await asyncio.sleep(0.02)
    go.set()
    await purging
    await one.second.aclose()
    assert not store.rows


@needs_redis
async def test_redis_killed_and_back_again() -> None:
    async with redis_server() as server, level(server.url, timeout=0.5) as one:
        one.second.keep(key(1), LABEL, ENCODED)
        await one.written(1)
        assert await one.second.find(key(1), "tenant") is not None
        await server.kill()
        began = time.monotonic()
        for _ in range(200):
            assert await one.second.find(key(1), "tenant") is None
            one.second.keep(key(2), LABEL, ENCODED)
        assert time.monotonic() - began < 5
        assert one.second.errors["failed"] >= 3
        assert one.events == ["response cache store is away"]
        with pytest.raises(StoreFailed, match="Redis"):
            await one.second.purge(Selection())
        await server.start()
        one.clock.now += 60
        assert await one.second.find(key(1), "tenant") is None
        one.second.keep(key(3), LABEL, ENCODED)
        await one.written(2)
        assert await one.second.find(key(3), "tenant") is not None
        assert one.events == ["response cache store is away", "response cache store is back"]


@needs_redis
async def test_redis_that_is_silent_is_not_waited_for() -> None:
    async with redis_server() as server, level(server.url, timeout=0.05) as one:
        one.second.keep(key(1), LABEL, ENCODED)
        await one.written(1)
        server.signal(signal.SIGSTOP)
        began = time.monotonic()
        for _ in range(100):
            assert await one.second.find(key(1), "tenant") is None
        assert time.monotonic() - began < 2
        server.signal(signal.SIGCONT)
        one.clock.now += 60
        async with asyncio.timeout(10):
            while await one.second.find(key(1), "tenant") is None:
                one.clock.now += 60
                await asyncio.sleep(0.01)


def test_the_breaker_lets_one_through_after_each_rest() -> None:
    clock = Clock()
    breaker = Breaker(clock, failures=2, rest=1.0, most=3.0)
    assert (breaker.failed(), breaker.succeeded(), breaker.failed(), breaker.failed()) == (False, False, False, True)
    assert not breaker.allows()
    for rest in (1.0, 2.0, 3.0, 3.0):
        clock.now += rest - 0.1
        assert not breaker.allows()
        clock.now += 0.2
        assert breaker.allows()
        assert not breaker.allows()
        assert not breaker.failed()
    clock.now += 3.1
    assert breaker.allows()
    assert breaker.succeeded()
    assert breaker.allows()
    assert not breaker.is_open


@pytest.mark.parametrize(
    "url", ["", "sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://a", "/a/b", "redis://h:port"]
)
def test_a_url_that_means_nothing_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"response_cache\.store"):
        open_store(url, 1 << 20)


def test_a_password_is_not_shown() -> None:
    assert shown_store("redis://user:secret@host:6379/0?x=secret") == "redis://…@host:6379/0"
    assert shown_store("sqlite:////var/answers.db") == "sqlite:////var/answers.db"
