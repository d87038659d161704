"""The supervisor against real child processes that die, hang, and never get ready."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from pennyweight.server.engines.base import HealthState
from pennyweight.server.engines.supervisor import Supervisor, Watch

CHILD = Path(__file__).parents[2] / "fakes" / "echo_child.py"


class Owner:
    """What an engine does with its supervisor."""

    def __init__(self, watch: Watch, options: dict[str, object]) -> None:
        self.frames: list[bytes] = []
        self.downs: list[str] = []
        self.is_busy = False
        self.supervisor = Supervisor(
            [sys.executable, str(CHILD), json.dumps(options)],
            watch=watch,
            on_frame=self.on_frame,
            on_down=self.downs.append,
            is_busy=lambda: self.is_busy,
        )

    def on_frame(self, body: bytes) -> None:
        if body == b"ready":
            self.supervisor.mark_ready()
        elif body == b"failed":
            self.supervisor.mark_failed("no such model")
        else:
            self.frames.append(body)

    def send(self, body: bytes) -> None:
        self.supervisor.send(struct.pack("<I", len(body)) + body)


@asynccontextmanager
async def running(watch: Watch | None = None, **options: object) -> AsyncIterator[Owner]:
    owner = Owner(watch or Watch(), options)
    owner.supervisor.start()
    try:
        yield owner
    finally:
        await owner.supervisor.stop()
        assert owner.supervisor.pid is None


async def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def test_frames_go_there_and_back_whole() -> None:
    async with running() as owner:
        assert (await owner.supervisor.until_ready()).state is HealthState.READY
        bodies = [b"x" * size for size in (0, 1, 5_000_000)]
        for body in bodies:
            owner.send(body)
        await eventually(lambda: len(owner.frames) == 3)
        assert owner.frames == bodies


@pytest.mark.parametrize("end", [b"die", b"torn"])
async def test_a_child_that_ends_is_told_at_once_and_started_again(end: bytes) -> None:
    async with running() as owner:
        await owner.supervisor.until_ready()
        for times in range(1, 4):
            owner.send(end)
            await eventually(lambda times=times: len(owner.downs) == times, 2.0)
            assert owner.supervisor.health.state is HealthState.RESTARTING
            assert (await owner.supervisor.until_ready()).state is HealthState.READY
        assert owner.supervisor.restarts == 3
        owner.send(b"still here")
        await eventually(lambda: owner.frames == [b"still here"])


async def test_a_hang_is_noticed_only_while_there_is_work() -> None:
    async with running(Watch(stall_seconds=0.5)) as owner:
        await owner.supervisor.until_ready()
        first = owner.supervisor.pid
        await asyncio.sleep(1.5)
        assert owner.supervisor.pid == first
        owner.is_busy = True
        owner.send(b"hang")
        await eventually(lambda: owner.downs)
        owner.is_busy = False
        assert "no sign of life" in owner.downs[0]
        assert (await owner.supervisor.until_ready()).state is HealthState.READY
        assert not psutil.pid_exists(first)


async def test_a_child_that_never_gets_ready_is_ended() -> None:
    async with running(Watch(start_timeout=0.5), never_ready=True) as owner:
        await eventually(lambda: owner.downs)
        assert "not ready within" in owner.downs[0]


async def test_starting_again_backs_off_while_the_child_never_gets_ready() -> None:
    async with running(dies_at_start=True) as owner:
        await eventually(lambda: len(owner.downs) == 2)
        assert "exit code 3" in owner.downs[0]
        assert "starting again in 1 s" in owner.supervisor.health.detail


async def test_a_child_that_says_it_can_never_run_is_left_alone() -> None:
    async with running(says="failed") as owner:
        health = await owner.supervisor.until_ready()
        assert health.state is HealthState.FAILED
        assert health.detail == "no such model"


async def test_stopping_ends_the_child() -> None:
    async with running() as owner:
        await owner.supervisor.until_ready()
        pid = owner.supervisor.pid
    assert pid is not None
    assert not psutil.pid_exists(pid)
