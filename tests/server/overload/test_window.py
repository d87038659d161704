"""What the window makes of an engine's starts, on engines that are simulated start by start."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.overload.batch_limit import AIM, BatchLimit
from pennyweight.server.overload.drain import Drain
from pennyweight.server.overload.start_times import MEMORY_SECONDS, StartTimes
from pennyweight.server.overload.window import BETA, INITIAL, LEAST, MOST, Window
from pennyweight.server.types import Delta, TextPrompt

PROMPT = TextPrompt(text="Tell me of Peru.")


def served(window: Window, rounds: int, *, at_once: float, seconds: float = 0.05) -> None:
    """An engine that is kept full, and begins ``at_once`` requests at a time: the rest of the window waits."""
    for _ in range(rounds):
        window.full()
        waits = max(window.size - at_once, 0.0) / at_once * seconds
        window.started(waits, waits + seconds)


def test_an_engine_that_begins_one_at_a_time_has_few_in_its_queue() -> None:
    window = Window()
    served(window, 500, at_once=1)
    assert LEAST <= window.size <= 1 + BETA + 1


def test_an_engine_that_begins_many_at_a_time_is_given_them_soon() -> None:
    window = Window()
    served(window, 300, at_once=100)
    assert 100 <= window.size <= 110


def test_the_window_follows_an_engine_that_changes() -> None:
    window = Window()
    served(window, 1000, at_once=40)
    assert 40 <= window.size <= 45
    served(window, 1000, at_once=20)
    assert 20 <= window.size <= 25
    served(window, 1000, at_once=40)
    assert 40 <= window.size <= 45


def test_a_window_that_nobody_fills_stays_as_it_is() -> None:
    window = Window()
    for _ in range(1000):
        window.started(0.0, 0.05)
    assert window.size == INITIAL


def test_an_engine_that_refuses_gets_half() -> None:
    window = Window()
    window.pushed_back()
    assert window.size == INITIAL / 2
    for _ in range(20):
        window.pushed_back()
    assert window.size == LEAST


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10), st.booleans(), st.booleans()), max_size=300))
def test_the_window_stays_within_its_bounds(starts: list[tuple[float, float, bool, bool]]) -> None:
    window = Window()
    for waited, rest, is_full, is_relaxed in starts:
        if is_full:
            window.full()
        if is_relaxed:
            window.relaxed()
        window.started(waited, waited + rest)
        assert LEAST <= window.size <= MOST


def token(count: int = 1) -> Delta:
    return Delta(index=0, text="word", token_ids=(0,) * count)


def test_the_end_of_a_step_is_no_queue() -> None:
    times = StartTimes()
    times.interval(0.04, token())
    assert times.waited(0.1, 0.03, PROMPT, now=0.0) == 0.0
    assert times.waited(0.3, 0.28, PROMPT, now=0.0) == pytest.approx(0.24)
    # A start that takes several steps itself is waited for by the next one.
    assert times.waited(0.3, 0.2, PROMPT, now=0.0) == pytest.approx(0.1)


def test_tokens_that_come_together_are_a_step_each() -> None:
    times = StartTimes()
    times.interval(0.08, token(4))
    assert times.step == pytest.approx(0.02)


def test_a_full_batch_is_no_queue_where_the_engine_tells_nothing() -> None:
    times = StartTimes()
    times.interval(0.01, token())
    assert times.waited(0.02, None, PROMPT, now=0.0) == 0.0
    for _ in range(1000):
        times.interval(0.08, token())
    # Eight times as long as on the idle engine, and as many steps.
    assert times.waited(0.16, None, PROMPT, now=1.0) == pytest.approx(0.0, abs=1e-3)
    # What is beyond those steps, and the one that may be under way, is waiting.
    assert times.waited(0.16 + 0.08 + 0.4, None, PROMPT, now=1.0) == pytest.approx(0.4, abs=1e-3)


def test_a_long_prompt_is_not_held_against_a_short_one() -> None:
    times = StartTimes()
    times.interval(0.01, token())
    assert times.waited(0.02, None, PROMPT, now=0.0) == 0.0
    assert times.waited(0.50, None, TextPrompt(text="long " * 1000), now=0.0) == 0.0


def test_an_engine_that_has_become_slower_is_known_after_a_while() -> None:
    times = StartTimes()
    times.interval(0.01, token())
    times.waited(0.02, None, PROMPT, now=0.0)
    assert times.waited(0.10, None, PROMPT, now=1.0) > 0
    assert times.waited(0.10, None, PROMPT, now=MEMORY_SECONDS + 2) > 0
    assert times.waited(0.10, None, PROMPT, now=2 * MEMORY_SECONDS + 3) == 0


def test_a_line_drains_as_it_was_seen_to() -> None:
    drain = Drain()
    assert drain.seconds(3, 0.0) is None
    drain.began(0.0)
    for number in range(1, 100):
        drain.took(number * 0.1)
    assert drain.seconds(5, 9.9) == pytest.approx(0.5)
    # And one that has stopped doing so takes as long as that.
    assert drain.seconds(5, 12.9) == pytest.approx(3.0)
    drain.ended()
    assert drain.seconds(5, 12.9) == pytest.approx(0.5)


def test_what_is_taken_while_nobody_waits_says_nothing() -> None:
    drain = Drain()
    drain.took(1.0)
    drain.took(2.0)
    assert drain.seconds(1, 3.0) is None


def paced(limit: BatchLimit, rounds: int, *, wanted: int, step_of: Callable[[float], float], now: float = 0.0) -> float:
    """An engine that ``wanted`` requests are there for, of which it works on as many as it may; its step in the end."""
    step = 0.0
    for _ in range(rounds):
        in_flight = min(wanted, int(limit.size) if limit.size < math.inf else wanted)
        step = step_of(in_flight)
        if wanted > in_flight:
            limit.full()
        for _ in range(40):
            now += step
            limit.interval(step, 1, in_flight, now)
    return step


@pytest.mark.parametrize("slope", [0.001, 0.005, 0.02])
def test_the_batch_is_as_large_as_its_pace_allows(slope: float) -> None:
    limit = BatchLimit(0.2)
    assert paced(limit, 60, wanted=500, step_of=lambda size: 0.01 + slope * size) == pytest.approx(0.2 * AIM, rel=0.3)


def test_the_batch_follows_an_engine_that_becomes_slower_and_quicker_again() -> None:
    limit = BatchLimit(0.2)
    paced(limit, 60, wanted=500, step_of=lambda size: 0.005 * size)
    assert 25 <= limit.size <= 40
    paced(limit, 60, wanted=500, step_of=lambda size: 0.010 * size, now=1e4)
    assert 12 <= limit.size <= 20
    paced(limit, 60, wanted=500, step_of=lambda size: 0.005 * size, now=2e4)
    assert 25 <= limit.size <= 40


def test_a_pace_that_is_kept_limits_nothing_and_without_one_there_is_no_limit() -> None:
    for limit in (BatchLimit(0.2), BatchLimit(None)):
        paced(limit, 60, wanted=20, step_of=lambda size: 0.005 * size)
        assert limit.size == math.inf
