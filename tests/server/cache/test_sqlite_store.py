"""Answers in SQLite: bounded, purged for good, and never worse than gone, whatever becomes of the file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.server.cache.sqlite_store import SqliteStore
from pennyweight.server.cache.store_base import Row, RowSelection, StoreFailed

MAX_BYTES = 1 << 20


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def row(
    number: int, *, size: int = 10, tenant: bytes = b"t", model: str = "m", asked: str = "m", ttl: float = 60
) -> Row:
    sealed = b"[answer %06d]" % number * (size // 15 + 1)
    return Row(key=number.to_bytes(32), tenant=tenant, model=model, asked=asked, expires=1000.0 + ttl, sealed=sealed)


@asynccontextmanager
async def opened(path: Path, clock: Clock | None = None) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, MAX_BYTES, clock or Clock())
    try:
        yield store
    finally:
        await store.aclose()


def on_disk(directory: Path) -> bytes:
    """All that is in a directory's files, and their names."""
    return b"".join(file.name.encode() + file.read_bytes() for file in directory.iterdir())


async def found(store: SqliteStore, *numbers: int) -> list[bool]:
    return [await store.get(number.to_bytes(32)) is not None for number in numbers]


async def test_what_is_put_is_there_also_after_a_restart_until_its_time_is_over(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "below" / "answers.db"
    async with opened(path, clock) as store:
        await store.put([row(1), row(2, ttl=30)])
    assert path.stat().st_mode & 0o777 == 0o600
    async with opened(path, clock) as store:
        assert await store.get((1).to_bytes(32)) == row(1).sealed
        clock.now += 31
        assert await found(store, 1, 2, 3) == [True, False, False]
        await store.delete([(1).to_bytes(32), (9).to_bytes(32)])
        assert await found(store, 1) == [False]


async def test_the_file_stays_within_its_bound_and_those_used_the_longest_ago_give_way(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "answers.db"
    async with opened(path, clock) as store:
        for number in range(60):
            clock.now += 0.1
            await store.put([row(number, size=50_000)])
            await store.touch([(0).to_bytes(32)])
            stats = await store.stats()
            assert stats.nbytes is not None
            assert stats.nbytes <= MAX_BYTES + 60_000
        assert await found(store, 0, 1, 59) == [True, False, True]
        await store.put([row(99, size=2 * MAX_BYTES)])
        assert await found(store, 99, 59) == [False, True]
    assert path.stat().st_size <= MAX_BYTES + 60_000


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        (RowSelection(), []),
        (RowSelection(key=(2).to_bytes(32)), [1, 3, 4]),
        (RowSelection(tenant=b"u"), [1, 4]),
        (RowSelection(model="alias"), [1, 2, 3]),
        (RowSelection(model="n"), [1, 2]),
        (RowSelection(tenant=b"u", model="n"), [1, 2, 4]),
    ],
)
async def test_what_is_purged_is_gone_from_the_disk_too(
    tmp_path: Path, selection: RowSelection, left: list[int]
) -> None:
    path = tmp_path / "answers.db"
    rows = [row(1), row(2, tenant=b"u"), row(3, tenant=b"u", model="n"), row(4, model="n", asked="alias")]
    async with opened(path) as store:
        await store.put(rows)
        assert await store.purge(selection) == 4 - len(left)
        assert await found(store, 1, 2, 3, 4) == [number in left for number in (1, 2, 3, 4)]
        disk = on_disk(tmp_path)
        for number in {1, 2, 3, 4} - set(left):
            assert row(number).sealed not in disk


async def test_a_second_server_has_no_part_in_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "answers.db") as first:
        await first.put([row(1)])
        async with opened(tmp_path / "answers.db") as second:
            with pytest.raises(StoreFailed, match="locked"):
                await second.get(row(1).key)
        assert await found(first, 1) == [True]


async def test_another_program_s_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE answers (a)")
    before = path.read_bytes()
    async with opened(path) as store:
        with pytest.raises(StoreFailed, match="another program's"):
            await store.put([row(1)])
    assert path.read_bytes() == before


async def test_a_file_of_another_version_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    async with opened(path) as store:
        await store.put([row(1)])
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    async with opened(path) as store:
        assert await found(store, 1) == [False]
        await store.put([row(1)])
        assert await found(store, 1) == [True]


async def test_a_place_where_no_file_can_be_fails_and_nothing_more() -> None:
    store = SqliteStore(Path("/proc/nowhere/answers.db"), MAX_BYTES)
    with pytest.raises(StoreFailed):
        await store.get(bytes(32))
    await store.aclose()
    with pytest.raises(StoreFailed):
        await store.get(bytes(32))


@settings(max_examples=25, deadline=None)
@given(st.data())
async def test_whatever_becomes_of_the_file_answers_are_as_they_were_or_gone_and_new_ones_can_be_kept(
    data: st.DataObject,
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "answers.db"
        async with opened(path) as store:
            await store.put([row(number, size=2000) for number in range(20)])
        whole = path.read_bytes()
        if data.draw(st.booleans(), label="cut"):
            damaged = whole[: data.draw(st.integers(0, len(whole)))]
        else:
            place = data.draw(st.integers(0, len(whole) - 1))
            noise = data.draw(st.binary(min_size=1, max_size=5000))
            damaged = (whole[:place] + noise + whole[place + len(noise) :])[: len(whole)]
        path.write_bytes(damaged)
        async with opened(path) as store:
            for _ in range(4):
                with contextlib.suppress(StoreFailed):
                    for number in range(20):
                        # What is in it is for the seal to judge; it must be bytes, or nothing, and no other error.
                        await store.get(number.to_bytes(32))
            for _ in range(4):
                with contextlib.suppress(StoreFailed):
                    await store.put([row(77)])
            assert isinstance(await _last(store), bytes | type(None))


async def _last(store: SqliteStore) -> bytes | None:
    try:
        return await store.get((77).to_bytes(32))
    except StoreFailed:
        return None


_WRITER = """
import asyncio, sys
from pathlib import Path
from pennyweight.server.cache.sqlite_store import SqliteStore
from pennyweight.server.cache.store_base import Row

async def main():
    store = SqliteStore(Path(sys.argv[1]), 1 << 20)
    number = 0
    while True:
        rows = [Row(key=(number + more).to_bytes(32), tenant=b"t", model="m", asked="m", expires=9e9,
                    sealed=(number + more).to_bytes(4) * 2000) for more in range(8)]
        await store.put(rows)
        number += 8
        print(number, flush=True)

asyncio.run(main())
"""


async def test_a_server_that_is_killed_while_it_writes_leaves_a_file_that_opens(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    for wanted in (1, 7, 40):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _WRITER, str(path), stdout=asyncio.subprocess.PIPE
        )
        assert writer.stdout is not None
        for _ in range(wanted):
            assert await writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
        rest = await writer.stdout.read()
        await writer.wait()
        assert rest is not None
        store = SqliteStore(path, 1 << 20)
        try:
            numbers = range(8 * wanted)
            kept = [sealed for number in numbers if (sealed := await store.get(number.to_bytes(32))) is not None]
            assert kept
            assert all(sealed == sealed[:4] * 2000 for sealed in kept)
            await store.put([Row(key=b"k" * 32, tenant=b"t", model="m", asked="m", expires=9e9, sealed=b"new")])
            assert await store.get(b"k" * 32) == b"new"
        finally:
            await store.aclose()
    assert b"damaged" not in on_disk(tmp_path)
