"""When a breaker lets requests through, with a clock that the tests move."""

from __future__ import annotations

import asyncio
import inspect
import math

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from prometheus_client import CollectorRegistry

from pennyweight.server import errors
from pennyweight.server.errors import (
    EngineDead,
    EngineFailed,
    InvalidRequest,
    ModelLoading,
    ModelUnavailable,
    NotCached,
    Overloaded,
    PennyweightError,
    ShuttingDown,
    UpstreamFailed,
    UpstreamTimeout,
)
from pennyweight.server.retry_budget import RetryBudget
from pennyweight.server.router.breaker import BreakerState, CircuitBreaker, Permit, Verdict, verdict
from pennyweight.server.telemetry.breakers import BreakerCollector

FAILED = UpstreamFailed("It failed.")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(breaker: CircuitBreaker) -> Permit:
    permit = breaker.permit()
    assert permit is not None
    return permit


def opened(clock: Clock, **limits: float) -> CircuitBreaker:
    """A breaker that has just opened, after 3 failures, for 10 seconds."""
    breaker = CircuitBreaker(3, 10.0, clock, **limits)
    for _ in range(3):
        taken(breaker).failed(FAILED)
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    breaker = CircuitBreaker(3, 10.0, Clock())
    for _ in range(5):
        taken(breaker).failed(FAILED)
        taken(breaker).failed(FAILED)
        taken(breaker).succeeded()
    assert breaker.state is BreakerState.CLOSED
    for _ in range(3):
        taken(breaker).failed(FAILED)
    assert breaker.state is BreakerState.OPEN
    assert breaker.permit() is None
    assert (breaker.openings, breaker.probes, breaker.refusals) == (1, 0, 1)


def test_one_probe_at_a_time_and_its_success_closes() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 10.0
    assert breaker.state is BreakerState.HALF_OPEN
    probe = taken(breaker)
    assert breaker.permit() is None
    probe.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert (breaker.openings, breaker.probes) == (1, 1)


def test_each_probe_that_fails_doubles_the_rest_up_to_the_bound_and_a_success_forgets_it() -> None:
    clock = Clock()
    breaker = opened(clock, max_reset_seconds=35.0)
    clock.now += 10.0
    for rest in (20.0, 35.0, 35.0):
        taken(breaker).failed(FAILED)
        assert breaker.retry_after == rest
        clock.now += rest
    taken(breaker).succeeded()
    for _ in range(3):
        taken(breaker).failed(FAILED)
    assert breaker.retry_after == 10.0


def test_a_probe_whose_client_leaves_makes_room_for_the_next() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 10.0
    for _ in range(3):
        with taken(breaker):
            assert breaker.permit() is None
    assert breaker.state is BreakerState.HALF_OPEN
    taken(breaker).succeeded()
    assert breaker.state is BreakerState.CLOSED


def test_a_probe_that_never_ends_gives_its_place_up_and_its_word() -> None:
    clock = Clock()
    breaker = opened(clock, probe_seconds=60.0)
    clock.now += 10.0
    lost = taken(breaker)
    clock.now += 60.0
    second = taken(breaker)
    lost.failed(FAILED)
    assert breaker.permit() is None
    second.succeeded()
    assert breaker.state is BreakerState.CLOSED


async def test_a_cancelled_block_is_no_failure_and_any_other_exception_is_one() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 10.0
    with pytest.raises(asyncio.CancelledError), taken(breaker):
        raise asyncio.CancelledError
    assert breaker.state is BreakerState.HALF_OPEN
    with pytest.raises(ZeroDivisionError), taken(breaker):
        raise ZeroDivisionError
    assert breaker.state is BreakerState.OPEN


def test_what_was_begun_before_it_opened_says_nothing_afterwards() -> None:
    clock = Clock()
    breaker = CircuitBreaker(1, 10.0, clock)
    early, late = taken(breaker), taken(breaker)
    taken(breaker).failed(FAILED)
    early.succeeded()
    assert breaker.state is BreakerState.OPEN
    clock.now += 10.0
    late.failed(FAILED)
    assert breaker.state is BreakerState.HALF_OPEN


def test_only_the_first_end_of_a_permit_counts() -> None:
    breaker = CircuitBreaker(2, 10.0, Clock())
    permit = taken(breaker)
    for _ in range(5):
        permit.failed(FAILED)
    permit.succeeded()
    assert breaker.state is BreakerState.CLOSED
    taken(breaker).failed(FAILED)
    assert breaker.state is BreakerState.OPEN


def test_a_busy_model_rests_for_as_long_as_it_asks_and_has_not_failed() -> None:
    clock = Clock()
    breaker = CircuitBreaker(1, 10.0, clock, max_rest_seconds=60.0)
    taken(breaker).failed(Overloaded("Full.", retry_after=7.0))
    assert breaker.permit() is None
    assert (breaker.state, breaker.retry_after) == (BreakerState.CLOSED, 7.0)
    clock.now += 7.0
    taken(breaker).failed(Overloaded("Full.", retry_after=math.inf))
    assert breaker.retry_after == 60.0
    clock.now += 60.0
    taken(breaker).failed(Overloaded("Full."))
    assert breaker.permit() is not None
    assert breaker.rests == 2


def test_a_busy_probe_neither_closes_nor_opens_again() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 10.0
    taken(breaker).failed(Overloaded("Full.", retry_after=2.0))
    assert breaker.permit() is None
    clock.now += 2.0
    assert breaker.state is BreakerState.HALF_OPEN
    taken(breaker).succeeded()
    assert (breaker.state, breaker.openings) == (BreakerState.CLOSED, 1)


@pytest.mark.parametrize("kind", [EngineDead, EngineFailed, UpstreamFailed, UpstreamTimeout, ModelUnavailable])
def test_faults_of_the_model_are_failures(kind: type[PennyweightError]) -> None:
    assert verdict(kind("")) is Verdict.FAILURE


def test_every_error_has_its_verdict() -> None:
    kinds = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, PennyweightError)]
    for kind in kinds:
        expected = Verdict.FAILURE if kind.status >= 500 else Verdict.NEUTRAL
        expected = {
            Overloaded: Verdict.BUSY,
            ModelLoading: Verdict.BUSY,
            ShuttingDown: Verdict.NEUTRAL,
            NotCached: Verdict.NEUTRAL,
        }.get(kind, expected)
        if not issubclass(kind, Overloaded):
            assert verdict(kind("")) is expected, kind
    assert verdict(InvalidRequest("")) is Verdict.NEUTRAL


class BreakerModel(RuleBasedStateMachine):
    """A breaker beside the simplest thing that says the same: a state, and the set of permits that still count."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = CircuitBreaker(2, 8.0, self.clock, max_reset_seconds=30.0, probe_seconds=1000.0)
        self.permits: list[tuple[Permit, bool]] = []  # and whether it is a probe
        self.live: set[int] = set()
        self.failures, self.delay = 0, 8.0
        self.opened: float | None = None
        self.rests = 0.0

    def expected(self) -> BreakerState:
        if self.opened is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self.clock.now < self.opened + self.delay else BreakerState.HALF_OPEN

    def leave(self) -> tuple[Permit, bool, bool]:
        permit, is_probe = self.permits.pop(0)
        counts = id(permit) in self.live
        self.live.discard(id(permit))
        return permit, is_probe, counts

    @rule(seconds=st.sampled_from([0.0, 0.5, 4.0, 8.0, 16.0, 30.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: len(self.permits) < 6)
    @rule()
    def a_request_comes(self) -> None:
        is_probed = any(is_probe and id(permit) in self.live for permit, is_probe in self.permits)
        state = self.expected()
        may = self.clock.now >= self.rests and (
            state is BreakerState.CLOSED or (state is BreakerState.HALF_OPEN and not is_probed)
        )
        permit = self.breaker.permit()
        assert (permit is not None) == may
        if permit is not None:
            if state is BreakerState.HALF_OPEN:
                self.live.clear()
            self.permits.append((permit, state is BreakerState.HALF_OPEN))
            self.live.add(id(permit))

    @precondition(lambda self: self.permits)
    @rule()
    def one_succeeds(self) -> None:
        permit, is_probe, counts = self.leave()
        permit.succeeded()
        if counts:
            self.failures = 0
            if is_probe:
                self.opened, self.delay = None, 8.0
                self.live.clear()

    @precondition(lambda self: self.permits)
    @rule()
    def one_fails(self) -> None:
        permit, is_probe, counts = self.leave()
        permit.failed(FAILED)
        if not counts:
            return
        self.failures += 1
        if is_probe or self.failures == 2:
            self.delay = min(self.delay * 2, 30.0) if is_probe else self.delay
            self.opened, self.failures = self.clock.now, 0
            self.live.clear()

    @precondition(lambda self: self.permits)
    @rule(error=st.sampled_from([InvalidRequest("Bad."), None]))
    def one_says_nothing(self, error: PennyweightError | None) -> None:
        permit, _, _ = self.leave()
        if error is None:
            permit.release()
        else:
            permit.failed(error)

    @precondition(lambda self: self.permits)
    @rule(seconds=st.sampled_from([1.0, 5.0]))
    def one_is_busy(self, seconds: float) -> None:
        permit, _, _ = self.leave()
        permit.failed(Overloaded("Full.", retry_after=seconds))
        self.rests = max(self.rests, self.clock.now + seconds)

    @invariant()
    def the_state_is_the_same(self) -> None:
        assert self.breaker.state is self.expected()


TestBreakerModel = BreakerModel.TestCase


def test_prometheus_reads_states_counts_and_the_budget() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 10.0
    assert breaker.permit() is not None
    budget = RetryBudget(0.2, reserve=1.0)
    assert [budget.take() for _ in range(3)] == [True, False, False]
    registry = CollectorRegistry()
    registry.register(BreakerCollector({"dear": breaker}, budget))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"pennyweight:{name}", labels)

    assert value("router_breaker_state", model_name="dear", state="half_open") == 1.0
    assert value("router_breaker_state", model_name="dear", state="open") == 0.0
    assert value("router_breaker_openings_total", model_name="dear") == 1.0
    assert value("router_breaker_probes_total", model_name="dear") == 1.0
    assert value("router_second_tries_total") == 1.0
    assert value("router_second_tries_refused_total") == 2.0
    assert value("router_second_tries_left") == 0.0
