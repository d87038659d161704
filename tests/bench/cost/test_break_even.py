from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.bench.cost.account import Answer, Round
from pennyweight.bench.cost.break_even import Capacity, Mix, at_load, break_even, capacity, mix
from pennyweight.server.ledger.price_book import ModelPrice


def hosted(input: str, output: str, cached: str | None = None, id: str = "hosted") -> ModelPrice:
    cached_input = None if cached is None else Decimal(cached)
    return ModelPrice(
        id=id, provider="p", as_of=date(2026, 1, 1), source="s", model="m", input=Decimal(input), output=Decimal(output), cached_input=cached_input
    )  # fmt: skip


# 10 requests of 80 and 20 tokens in 36 s: 1,000 requests and 100,000 tokens an hour.
ROUND = Round(36.0, tuple(Answer(3.0, 80, 20, cached_tokens=40) for _ in range(10)), 0.4)
FULL = Capacity(Decimal("0.10"), 1000.0, 100_000.0)


def test_capacity_is_the_throughput_of_the_load() -> None:
    assert capacity([ROUND, ROUND], Decimal("0.10")) == FULL
    assert mix([ROUND]) == Mix(80.0, 20.0, 0.5)
    nothing = Round(5.0, (Answer(5.0, 1, 1, is_completed=False, is_accepted=False),), 0.0)
    assert capacity([nothing], Decimal(1)) is None
    assert mix([nothing]) is None


def test_at_less_than_capacity_the_idle_time_is_paid_for_too() -> None:
    full, quarter = at_load(FULL, 1000), at_load(FULL, 250)
    assert (full.utilisation, full.machines, full.per_request) == (1.0, 1, pytest.approx(0.0001))
    assert full.per_million_total == pytest.approx(1.0)
    assert quarter.utilisation == 0.25
    assert quarter.per_million_total == pytest.approx(4.0)


def test_above_capacity_there_are_more_machines() -> None:
    level = at_load(FULL, 1500)
    assert (level.machines, level.utilisation, level.dollars_per_hour) == (2, 0.75, pytest.approx(0.2))
    assert level.per_request == pytest.approx(0.2 / 1500)


def test_break_even_is_where_the_machine_costs_what_the_hosted_model_does() -> None:
    # 80 tokens at 1 $/M and 20 at 6 $/M are 0.0002 dollars a request; 0.10 $/h buys 500 of them.
    (found,) = break_even("ours", FULL, Mix(80.0, 20.0), [hosted("1", "6")])
    assert found.hosted_per_request == pytest.approx(0.0002)
    assert found.requests_per_hour == pytest.approx(500)
    assert found.tokens_per_hour == pytest.approx(50_000)
    assert found.share_of_capacity == pytest.approx(0.5)
    assert at_load(FULL, found.requests_per_hour).per_request == pytest.approx(found.hosted_per_request)


def test_a_cheap_hosted_model_is_never_beaten() -> None:
    (found,) = break_even("ours", FULL, Mix(80.0, 20.0), [hosted("0.01", "0.06")])
    assert found.share_of_capacity == pytest.approx(50)


def test_what_the_provider_would_cache_is_counted_at_its_price() -> None:
    # 40 at 1, 40 at 0.1 and 20 at 6.
    (found,) = break_even("ours", FULL, Mix(80.0, 20.0, cached_share=0.5), [hosted("1", "6", cached="0.1")])
    assert found.hosted_per_request == pytest.approx(164e-6)


def test_a_free_model_has_no_break_even_and_the_dearest_comes_first() -> None:
    models = [hosted("1", "1", id="cheap"), hosted("0", "0", id="free"), hosted("9", "9", id="dear")]
    assert [one.model for one in break_even("ours", FULL, Mix(80.0, 20.0), models)] == ["dear", "cheap"]


@given(st.floats(0.1, 1e5), st.floats(0.1, 1e5))
def test_more_load_is_never_dearer_for_a_request_on_one_machine(one: float, more: float) -> None:
    few, many = sorted((one / 100, more / 100))
    if many <= FULL.requests_per_hour:
        assert at_load(FULL, many).per_request <= at_load(FULL, few).per_request
