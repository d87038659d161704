"""Deadlines at an upstream: it is told of the time that is left, and gets nothing for which there is none."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from fakes.fault_server import FaultServer, fault_server
from fakes.upstream import answered, chat, upstream_engine

from pennyweight.server.deadline import timed
from pennyweight.server.engines.base import TIMEOUT_HEADER
from pennyweight.server.errors import DeadlineExceeded, Overloaded
from pennyweight.server.types import Request

pytestmark = pytest.mark.serial


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with fault_server() as running:
        yield running


def within(seconds: float, model: str = "good") -> Request:
    return msgspec.structs.replace(chat(model), deadline=time.monotonic() + seconds)


async def test_the_upstream_is_told_of_the_time_that_is_left(server: FaultServer) -> None:
    async with upstream_engine(server.base_url) as engine:
        await answered(engine, within(20.0))
        assert server.last is not None
        assert 19.0 < float(server.last.headers[TIMEOUT_HEADER]) <= 20.0
        await answered(engine, chat())
        assert TIMEOUT_HEADER not in server.last.headers


async def test_expired_work_is_not_sent(server: FaultServer) -> None:
    async with upstream_engine(server.base_url) as engine:
        asked = server.tries.total()
        with pytest.raises(DeadlineExceeded):
            await answered(engine, within(-1.0))
        assert server.tries.total() == asked


async def test_no_other_try_is_waited_for_beyond_the_deadline(server: FaultServer) -> None:
    async with upstream_engine(server.base_url) as engine:
        began = time.monotonic()
        with pytest.raises(Overloaded):
            await answered(engine, within(0.1, "limited_once"))
        assert time.monotonic() - began < 0.1


async def test_a_stalled_upstream_is_left_at_the_deadline_and_not_blamed(server: FaultServer) -> None:
    async with upstream_engine(server.base_url, first_token_timeout=30.0, failures_to_open=1) as engine:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await answered(timed(engine), within(0.1, "stalls_before_headers"))
        assert time.monotonic() - began < 1.0
        await answered(engine, chat())
