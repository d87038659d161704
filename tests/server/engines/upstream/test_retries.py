"""The policies: how often to ask again, when, and when not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.engines.upstream.circuit import Circuit
from pennyweight.server.engines.upstream.failure import Failure, broken
from pennyweight.server.engines.upstream.refusal import retry_after_seconds
from pennyweight.server.engines.upstream.retry_policy import LONGEST_DELAY, RetryPolicy
from pennyweight.server.errors import Overloaded, UpstreamTimeout
from pennyweight.server.retry_budget import RetryBudget


@given(st.lists(st.integers(0, 5), max_size=400), st.floats(0, 1), st.floats(0, 20))
def test_retries_stay_within_the_budget(wanted: list[int], share: float, reserve: float) -> None:
    budget = RetryBudget(share, reserve=reserve)
    taken = 0
    for retries in wanted:
        budget.request()
        taken += sum(budget.take() for _ in range(retries))
    assert taken <= reserve + share * len(wanted) + 1e-6


def test_a_quiet_time_saves_up_no_more_than_the_reserve() -> None:
    budget = RetryBudget(0.1)
    for _ in range(1000):
        budget.request()
    assert sum(budget.take() for _ in range(100)) == 10


def test_ten_requests_earn_one_retry() -> None:
    budget = RetryBudget(0.1, reserve=1.0)
    assert budget.take()
    assert not budget.take()
    for _ in range(10):
        budget.request()
    assert budget.take()
    assert not budget.take()


def policy(**changes: float) -> RetryPolicy:
    settings = {"max_retries": 2, "max_retry_after": 10.0} | changes
    return RetryPolicy(
        RetryBudget(0.1),
        max_retries=int(settings["max_retries"]),
        max_retry_after=settings["max_retry_after"],
        jitter=lambda least, most: most,
    )


def test_delays_double_up_to_a_bound() -> None:
    delays = [policy(max_retries=99).delay(broken("x"), retries) for retries in range(8)]
    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, LONGEST_DELAY]


def test_what_the_upstream_asks_for_is_added() -> None:
    limited = Failure(Overloaded("x"), is_retryable=True, retry_after=3.0)
    assert policy().delay(limited, 0) == 3.25
    assert policy(max_retry_after=2.9).delay(limited, 0) is None


def test_what_won_t_pass_is_not_tried_again() -> None:
    assert policy().delay(Failure(UpstreamTimeout("x")), 0) is None
    assert policy().delay(broken("x"), 2) is None


def test_an_empty_budget_allows_none() -> None:
    made = policy()
    assert [made.delay(broken("x"), 0) is None for _ in range(11)] == [False] * 10 + [True]


def test_the_circuit_opens_at_failures_in_a_row_and_is_closed_from_outside() -> None:
    circuit = Circuit(2)
    circuit.failed("a")
    circuit.succeeded()
    circuit.failed("b")
    assert not circuit.is_open
    circuit.failed("c")
    assert circuit.is_open
    circuit.succeeded()  # of a request that was under way
    assert circuit.is_open
    circuit.close()
    assert not circuit.is_open


def test_single_failures_between_good_checks_never_open_the_circuit() -> None:
    circuit = Circuit(2)
    for _ in range(10):
        circuit.failed("a")
        circuit.close()
    assert not circuit.is_open


@pytest.mark.parametrize(
    ("value", "seconds"), [("3", 3), ("0.5", 0.5), ("-1", 0), ("", None), ("soon", None), ("nan", None), ("inf", None)]
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert retry_after_seconds({"Retry-After": value}) == seconds


def test_retry_after_as_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    seconds = retry_after_seconds({"Retry-After": soon})
    assert seconds is not None
    assert 28 <= seconds <= 30
    assert retry_after_seconds({"Retry-After": "Mon, 01 Jan 2024 00:00:00 GMT"}) == 0
    assert retry_after_seconds({}) is None
