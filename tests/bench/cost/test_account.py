from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from pennyweight.bench.cost.account import QUANTUM, Answer, Round, divided, prefill_share, weighted_share


def test_a_bill_is_the_price_for_the_time() -> None:
    # 90 seconds at 0.08 $/h are 0.08 * 90 / 3600 = 0.002 dollars.
    load = Round(90.0, (Answer(60.0, 100, 20), Answer(20.0, 50, 10)), prefill_share=0.25)
    assert load.bill(Decimal("0.08")) == Decimal("0.002")
    # Held for 60 and 20 seconds: three quarters and one quarter.
    assert load.charges(Decimal("0.08")) == [Decimal("0.0015"), Decimal("0.0005")]
    assert (load.input_tokens, load.output_tokens, load.completed, load.accepted) == (150, 30, 2, 2)


def test_a_failed_request_is_charged_and_gives_nothing() -> None:
    load = Round(
        10.0, (Answer(5.0, 100, 20), Answer(5.0, 9, 3, is_completed=False, is_accepted=False)), prefill_share=0.5
    )
    assert load.charges(Decimal("3.6")) == [Decimal("0.005")] * 2
    assert (load.input_tokens, load.output_tokens, load.completed, load.accepted) == (100, 20, 1, 1)


seconds = st.floats(0, 1e4, allow_nan=False)


@given(st.decimals(0, 1000, places=4), st.floats(0.001, 1e6), st.lists(seconds, min_size=1, max_size=60))
def test_the_sum_over_the_responses_is_the_bill(price: Decimal, length: float, held: list[float]) -> None:
    load = Round(length, tuple(Answer(one, 1, 1) for one in held), prefill_share=0.5)
    charges = load.charges(price)
    assert sum(charges, Decimal()) == load.bill(price)
    assert all(charge >= 0 for charge in charges)


@given(st.integers(0, 10**18), st.lists(seconds, min_size=1, max_size=20))
def test_parts_are_in_proportion(units: int, weights: list[float]) -> None:
    total = QUANTUM * units
    exact = [Fraction(weight) for weight in (weights if any(weights) else [1.0] * len(weights))]
    for part, weight in zip(divided(total, weights), exact, strict=True):
        assert abs(Fraction(part) - Fraction(total) * weight / sum(exact)) < Fraction(QUANTUM)


def test_equal_weights_of_nothing_are_equal_parts() -> None:
    assert divided(QUANTUM * 5, [0.0, 0.0]) == [QUANTUM * 3, QUANTUM * 2]


def test_the_part_of_prompts_is_that_of_a_probe() -> None:
    # A probe read 2,000 prompt tokens in 4 s, so 6,000 took 12 of 48 s.
    assert prefill_share(4.0, 2000, 48.0, 6000) == 0.25
    assert prefill_share(4.0, 2000, 10.0, 6000) == 1.0
    assert prefill_share(4.0, 0, 48.0, 6000) == 0.0


def test_the_part_of_prompts_by_rule() -> None:
    assert weighted_share(600, 100, output_weight=4.0) == 0.6
    assert weighted_share(0, 0, output_weight=4.0) == 0.0
