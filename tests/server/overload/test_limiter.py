"""Who is let to an engine, who waits, and who is refused; and that no place is ever lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from pennyweight.server.errors import DeadlineExceeded, Overloaded
from pennyweight.server.overload.limiter import Grade, Limiter, Place, Reason, grade
from pennyweight.server.types import Request, SamplingParams, TextPrompt

PROMPT = TextPrompt(text="Hi")


def request(priority: int = 0, *, deadline: float | None = None, arrival: float = 0.0) -> Request:
    return Request(
        id="r",
        model="m",
        prompt=PROMPT,
        sampling=SamplingParams(),
        priority=priority,
        deadline=deadline,
        arrival=arrival,
    )


async def full(limiter: Limiter, priority: int = 0) -> list[Place]:
    """So many requests as the window has places."""
    return [await limiter.enter(request(priority)) for _ in range(int(limiter.window.size))]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def measured(limiter: Limiter, interval: float) -> None:
    """As if the line had been seen to move so quickly."""
    limiter._drain.began(0.0)
    limiter._drain.took(interval)
    limiter._drain.ended()


async def test_an_idle_engine_takes_all_that_fits_and_lets_the_rest_wait() -> None:
    limiter = Limiter(max_wait=1.0)
    waiting = [asyncio.create_task(limiter.enter(request())) for _ in range(100)]
    await settle()
    assert limiter.starting == int(limiter.window.size)
    assert len(limiter.line) == 100 - limiter.starting
    assert not limiter.refused
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_a_place_is_given_on_as_soon_as_an_answer_begins() -> None:
    limiter = Limiter()
    places = await full(limiter)
    next_one = asyncio.create_task(limiter.enter(request()))
    await settle()
    assert not next_one.done()
    places[0].started(0.0)
    await settle()
    assert next_one.done()
    assert limiter.in_flight == len(places) + 1


async def test_better_classes_go_first_and_each_in_its_order() -> None:
    limiter = Limiter()
    places = await full(limiter, priority=-9)
    order: list[str] = []

    async def one(name: str, priority: int) -> None:
        await limiter.enter(request(priority))
        order.append(name)

    tasks = []
    for name, priority in (("batch", 5), ("first", 0), ("second", 0), ("urgent", -1)):
        tasks.append(asyncio.create_task(one(name, priority)))
        await settle()
    for place in places[:4]:
        place.started(None)
        await settle()
    assert order == ["urgent", "first", "second", "batch"]


async def test_a_better_class_does_not_wait_for_worse_ones_to_be_begun() -> None:
    limiter = Limiter()
    await full(limiter, priority=5)
    urgent = asyncio.create_task(limiter.enter(request(0)))
    later = asyncio.create_task(limiter.enter(request(5)))
    await settle()
    assert urgent.done()
    assert not later.done()
    later.cancel()
    await asyncio.wait((later,))


async def test_what_would_wait_for_too_long_is_refused_at_once_with_the_time_that_it_takes() -> None:
    limiter = Limiter(max_wait=1.0)
    await full(limiter)
    measured(limiter, 0.4)
    waiting = [asyncio.create_task(limiter.enter(request())) for _ in range(2)]
    await settle()
    with pytest.raises(Overloaded) as refused:
        await limiter.enter(request())
    assert refused.value.retry_after == pytest.approx(1.2)
    assert limiter.refused == {(Reason.FULL, Grade.DEFAULT): 1}
    assert len(limiter.line) == 2
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_where_nobody_waits_one_may_however_slow_it_was() -> None:
    limiter = Limiter(max_wait=0.1)
    places = await full(limiter)
    measured(limiter, 60.0)
    waiting = asyncio.create_task(limiter.enter(request()))
    await settle()
    places[0].started(0.0)
    await waiting


async def test_a_better_class_displaces_the_last_of_a_worse_one() -> None:
    limiter = Limiter(max_wait=1.0)
    await full(limiter, priority=-9)
    measured(limiter, 0.4)
    worse = [asyncio.create_task(limiter.enter(request(5))) for _ in range(2)]
    await settle()
    better = asyncio.create_task(limiter.enter(request(0)))
    await settle()
    assert [task.done() for task in worse] == [False, True]
    with pytest.raises(Overloaded):
        await worse[1]
    assert limiter.refused == {(Reason.DISPLACED, Grade.BELOW): 1}
    with pytest.raises(Overloaded):
        await limiter.enter(request(5))
    for task in (worse[0], better):
        task.cancel()
    await asyncio.wait((worse[0], better))


async def test_its_own_class_displaces_nobody() -> None:
    limiter = Limiter(max_wait=1.0)
    await full(limiter)
    measured(limiter, 0.4)
    waiting = [asyncio.create_task(limiter.enter(request())) for _ in range(3)]
    await settle()
    assert [task.done() for task in waiting] == [False, False, True]
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_a_wait_that_was_promised_short_ends_all_the_same() -> None:
    limiter = Limiter(max_wait=0.02)
    await full(limiter)
    began = time.monotonic()
    with pytest.raises(Overloaded):
        await limiter.enter(request())
    assert time.monotonic() - began < 1.0
    assert limiter.refused == {(Reason.WAITED, Grade.DEFAULT): 1}


async def test_a_deadline_that_cannot_be_met_is_refused_at_once_and_one_that_passes_in_the_line_then() -> None:
    limiter = Limiter()
    await full(limiter)
    with pytest.raises(DeadlineExceeded):
        await limiter.enter(request(deadline=time.monotonic() + 0.02))
    measured(limiter, 10.0)
    first = asyncio.create_task(limiter.enter(request()))
    await settle()
    with pytest.raises(Overloaded) as refused:
        await limiter.enter(request(deadline=time.monotonic() + 5.0))
    assert refused.value.retry_after == pytest.approx(20.0)
    assert limiter.refused == {(Reason.DEADLINE, Grade.DEFAULT): 2}
    first.cancel()
    await asyncio.wait((first,))


async def test_what_one_call_asks_for_is_not_refused_for_waiting_for_itself() -> None:
    limiter = Limiter(max_wait=0.02)
    measured(limiter, 0.1)
    ours = [asyncio.create_task(limiter.enter(request(arrival=7.0))) for _ in range(64)]
    await asyncio.sleep(0.1)
    assert not limiter.refused
    assert len(limiter.line) == 64 - int(limiter.window.size)
    for task in ours:
        task.cancel()
    await asyncio.wait(ours)


def test_priorities_are_counted_by_few_names() -> None:
    assert [grade(one) for one in (-(2**31), -1, 0, 1, 2**31 - 1)] == ["above", "above", "default", "below", "below"]


class Places(RuleBasedStateMachine):
    """Requests that come, begin, end, are cancelled and run out of time in any order: what is counted is what is there."""

    entering = Bundle("entering")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.limiter = Limiter(max_wait=5.0)
        self.limiter.window.size = 2.0
        self.tasks: list[asyncio.Task[Place]] = []
        self.held: list[Place] = []

    def run(self, work: Callable[[], Awaitable[object]]) -> None:
        self.loop.run_until_complete(work())
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.remove(task)
            if not task.cancelled() and task.exception() is None:
                self.held.append(task.result())

    @rule(target=entering, priority=st.integers(-1, 1), late=st.booleans(), arrival=st.sampled_from((0.0, 1.0)))
    def comes(self, priority: int, late: bool, arrival: float) -> asyncio.Task[Place]:
        deadline = time.monotonic() + (0.0 if late else 60.0)
        wanted = request(priority, deadline=deadline, arrival=arrival)
        task = self.loop.create_task(self.limiter.enter(wanted))
        self.tasks.append(task)
        self.run(settle)
        return task

    @rule(task=consumes(entering))
    def is_cancelled(self, task: asyncio.Task[Place]) -> None:
        task.cancel()
        self.run(settle)

    @rule(task=consumes(entering))
    def is_cancelled_as_it_is_taken(self, task: asyncio.Task[Place]) -> None:
        if self.held:
            self.held.pop(0).left()
        task.cancel()
        self.run(settle)

    @rule(task=consumes(entering))
    def is_taken_as_it_is_cancelled(self, task: asyncio.Task[Place]) -> None:
        task.cancel()
        if self.held:
            self.held.pop(0).left()
        self.run(settle)

    @rule(queued=st.one_of(st.none(), st.floats(0, 1)))
    def begins(self, queued: float | None) -> None:
        for place in self.held[:1]:
            place.started(queued)
        self.run(settle)

    @rule(is_pushed_back=st.booleans())
    def ends(self, is_pushed_back: bool) -> None:
        if self.held:
            place = self.held.pop()
            if is_pushed_back:
                place.pushed_back()
            place.left()
        self.run(settle)

    @invariant()
    def every_place_is_somebodys(self) -> None:
        limiter = self.limiter
        assert limiter.in_flight == len(self.held)
        assert limiter.starting == sum(place.is_starting for place in self.held)
        assert len(limiter.line) == len(self.tasks) == limiter.line.classes.total()
        assert limiter._calls.total() == len(self.held) + len(self.tasks)

    @invariant()
    def nobody_waits_while_there_is_room(self) -> None:
        if self.limiter.line:
            assert not self.limiter._has_room(self.limiter.line.first.request.priority)

    def teardown(self) -> None:
        for task in self.tasks:
            task.cancel()
        while self.held or self.tasks:
            while self.held:
                self.held.pop().left()
            self.run(settle)
        assert self.limiter.in_flight == self.limiter.starting == len(self.limiter.line) == 0
        assert not self.limiter._calls
        self.loop.close()


Places.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestPlaces = Places.TestCase
