"""Memory as control groups limit it, on trees of files like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from pennyweight.server.engines.native import machine


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "MEMBERSHIP", tmp_path / "membership")
    return tmp_path


def group(place: Path, path: str, **files: object) -> None:
    directory = place / "cgroup" / path
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name.replace("__", ".")).write_text(f"{content}\n")


def test_without_groups_the_machine_s_free_memory_counts(place: Path) -> None:
    assert 0 < machine.available_memory() <= machine.memory_limit()


def test_the_tightest_group_above_counts(place: Path) -> None:
    (place / "membership").write_text("0::/outer/inner\n")
    group(place, "outer", memory__max=3 << 20, memory__current=1 << 20)
    group(place, "outer/inner", memory__max="max", memory__current=0)
    assert machine.available_memory() == 2 << 20
    assert machine.memory_limit() == 3 << 20


def test_page_cache_that_can_go_is_free(place: Path) -> None:
    (place / "membership").write_text("0::/\n")
    group(place, "", memory__max=4 << 20, memory__current=3 << 20, memory__stat=f"anon 5\ninactive_file {1 << 20}")
    assert machine.available_memory() == 2 << 20


def test_the_first_version_of_groups_is_read_too(place: Path) -> None:
    (place / "membership").write_text("5:cpu,cpuacct:/x\n4:memory:/docker/abc\n")
    group(place, "memory", memory__limit_in_bytes=8 << 20, memory__usage_in_bytes=2 << 20)
    assert machine.available_memory() == 6 << 20


def test_no_limit_is_none(place: Path) -> None:
    (place / "membership").write_text("4:memory:/\n")
    group(place, "memory", memory__limit_in_bytes=0x7FFFFFFFFFFFF000, memory__usage_in_bytes=1)
    assert machine.memory_limit() == machine.psutil.virtual_memory().total


def test_an_overdrawn_group_has_nothing_left(place: Path) -> None:
    (place / "membership").write_text("0::/\n")
    group(place, "", memory__max=1 << 20, memory__current=2 << 20)
    assert machine.available_memory() == 0


def test_the_first_version_s_tightest_group_and_whole_cache_count(place: Path) -> None:
    (place / "membership").write_text("4:memory:/outer/inner\n0::/outer/inner\n")
    stat = f"inactive_file 1\ntotal_inactive_file {1 << 20}"
    group(place, "memory", memory__limit_in_bytes=0x7FFFFFFFFFFFF000, memory__usage_in_bytes=9)
    group(place, "memory/outer", memory__limit_in_bytes=4 << 20, memory__usage_in_bytes=3 << 20, memory__stat=stat)
    group(place, "memory/outer/inner", memory__limit_in_bytes=64 << 20, memory__usage_in_bytes=0)
    assert machine.available_memory() == 2 << 20
    assert machine.memory_limit() == 4 << 20


def test_a_path_of_the_host_s_is_looked_for_in_vain(place: Path) -> None:
    """A container sees its own group as the root, and may be told where the host has it."""
    (place / "membership").write_text("0::/../../system.slice/docker-abc.scope\n")
    group(place, "", memory__max=2 << 20, memory__current=1 << 20)
    assert machine.available_memory() == 1 << 20


@pytest.mark.parametrize("stat", ["", "odd", "anon 1"])
def test_statistics_that_say_nothing_of_page_cache_free_none(place: Path, stat: str) -> None:
    (place / "membership").write_text("0::/\n")
    group(place, "", memory__max=4 << 20, memory__current=3 << 20, memory__stat=stat)
    assert machine.available_memory() == 1 << 20


def test_a_machine_without_control_groups_has_no_limit_of_theirs(place: Path) -> None:
    (place / "membership").write_text("5:cpu:/x\n0::/\n")
    assert machine.memory_limit() == machine.psutil.virtual_memory().total
