from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from fakes.recorded import record

from pennyweight.bench.replay.pace import Pace, paced
from pennyweight.bench.replay.recording import Recorded


async def test_no_more_records_are_taken_than_are_worked_on() -> None:
    taken, running, most = 0, 0, 0

    def records() -> Iterator[Recorded]:
        nonlocal taken
        for number in range(20):
            taken += 1
            assert taken - done <= 4  # three under way, and the next one
            yield Recorded(record(number), None)

    done = 0

    async def work(one: Recorded) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        done += 1

    await paced(records(), Pace(3), work)
    assert (done, most) == (20, 3)


async def test_a_trace_keeps_the_recorded_distances_times_its_speed() -> None:
    began, times = time.perf_counter(), []

    async def work(one: Recorded) -> None:
        times.append(time.perf_counter() - began)

    lag = await paced((Recorded(record(number), None) for number in range(3)), Pace(speed=20.0), work)
    assert [one >= 0.05 * place for place, one in enumerate(times)] == [True] * 3
    assert lag < 0.5


async def test_what_goes_wrong_ends_all() -> None:
    async def work(one: Recorded) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        await paced([Recorded(record(), None)], Pace(), work)
