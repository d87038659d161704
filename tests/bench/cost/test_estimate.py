from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from pennyweight.bench.cost.account import Answer, Round
from pennyweight.bench.cost.estimate import Estimate, effective_cost, totals
from pennyweight.bench.cost.waterfall import waterfall

HOUR = Decimal("3.6")  # A thousandth of a dollar a second.


def load(
    seconds: float, answers: int = 10, *, accepted: int | None = None, spread: float = 0.0, share: float = 0.4
) -> Round:
    """Answers of 80 tokens in and 20 out, held for about a second each."""
    held = np.linspace(1 - spread, 1 + spread, answers)
    kept = answers if accepted is None else accepted
    return Round(
        seconds, tuple(Answer(float(one), 80, 20, is_accepted=index < kept) for index, one in enumerate(held)), share
    )


def test_costs_are_as_calculated_by_hand() -> None:
    # 10 and 30 s at 0.001 $/s: 0.04 $ for 20 answers of 80 tokens in and 20 out, of which 15 are accepted; 0.4 of it is prefill.
    cost = effective_cost(totals([load(10), load(30, accepted=5)], HOUR, seed=0))
    assert cost.per_million_total is not None
    assert cost.per_million_total.value == pytest.approx(0.04 / 2000 * 1e6)
    assert cost.per_million_input is not None
    assert cost.per_million_input.value == pytest.approx(0.4 * 0.04 / 1600 * 1e6)
    assert cost.per_million_output is not None
    assert cost.per_million_output.value == pytest.approx(0.6 * 0.04 / 400 * 1e6)
    assert cost.per_request is not None
    assert cost.per_request.value == pytest.approx(0.002)
    assert cost.per_accepted is not None
    assert cost.per_accepted.value == pytest.approx(0.04 / 15)
    # Both rounds may be drawn twice: from 10 s for 1,000 tokens to 30 s.
    assert cost.per_million_total.low == pytest.approx(10)
    assert cost.per_million_total.high == pytest.approx(30)


def test_without_any_answer_there_is_no_cost_for_one() -> None:
    failed = Round(10.0, (Answer(1.0, 80, 0, is_completed=False, is_accepted=False),) * 3, 0.4)
    cost = effective_cost(totals([failed], HOUR, seed=0))
    assert cost.per_million_total is cost.per_request is cost.per_accepted is None


def test_an_interval_has_no_end_where_a_resample_accepts_nothing() -> None:
    cost = effective_cost(totals([load(10, accepted=1)], HOUR, seed=0))
    assert cost.per_accepted is not None
    assert cost.per_accepted.high is None
    assert cost.per_accepted.low is not None


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for seed in range(100):
        held = generator.gamma(4.0, 0.25, 200)  # of mean 1 s
        one = Round(float(held.sum()), tuple(Answer(float(second), 80, 20) for second in held), 0.4)
        cost = effective_cost(totals([one], HOUR, seed)).per_request
        assert cost is not None
        assert cost.low is not None
        assert cost.high is not None
        covered += cost.low <= 0.001 <= cost.high
    assert 88 <= covered <= 100


def test_the_same_seed_gives_the_same_intervals() -> None:
    rounds = [load(10, spread=0.5), load(12, spread=0.5)]
    assert effective_cost(totals(rounds, HOUR, 7)) == effective_cost(totals(rounds, HOUR, 7))


def test_the_waterfall_says_what_each_step_saved() -> None:
    steps = waterfall(
        [
            ("plain", totals([load(40)], HOUR, 0)),
            ("int8", totals([load(10)], HOUR, 0)),
            ("worse", totals([load(12)], HOUR, 0)),
        ]
    )
    assert [step.dollars_per_million for step in steps] == pytest.approx([40, 10, 12])
    assert steps[0].saved is None
    assert [step.saved for step in steps[1:]] == pytest.approx([30, -2])
    assert [step.saved_share for step in steps[1:]] == pytest.approx([0.75, -0.05])


def test_savings_are_paired_by_round() -> None:
    # The machine was slower in the second round for all; the saving is the same 20 % in each.
    before, after = [load(10), load(20)], [load(8), load(16)]
    steps = waterfall([("before", totals(before, HOUR, 3)), ("after", totals(after, HOUR, 3))])
    assert steps[1].saved_interval == pytest.approx((2, 4))
    assert steps[0].interval == pytest.approx((10, 20))


def test_a_step_of_which_nothing_came_is_left_out() -> None:
    nothing = Round(1.0, (Answer(1.0, 1, 1, is_completed=False, is_accepted=False),), 0.4)
    steps = waterfall(
        [("a", totals([load(10)], HOUR, 0)), ("b", totals([nothing], HOUR, 0)), ("c", totals([load(5)], HOUR, 0))]
    )
    assert [step.name for step in steps] == ["a", "c"]
    assert steps[1].saved == pytest.approx(5)


def test_an_estimate_is_plain_data() -> None:
    assert Estimate(1.0, None, 2.0).low is None
