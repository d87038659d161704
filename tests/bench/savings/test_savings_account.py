from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from pennyweight.bench.load.sample import Sample
from pennyweight.bench.savings.account import Answered, dollars, step_costs
from pennyweight.bench.savings.step import CHEAP, DEAR, HOSTED, Prices
from pennyweight.server.ledger.price_book import load_prices

BOOK = load_prices()
PRICES = Prices(BOOK.model("anthropic-claude-haiku-5.5"), BOOK.model("anthropic-claude-opus-5.5"))


def sample(**changes: Any) -> Sample:
    known: dict[str, Any] = {
        **{"index": 0, "scheduled": 0.0, "sent": 0.0, "ended": 1.0},
        **{"prompt_tokens": 100, "output_tokens": 10, "cached_tokens": 0, "model": DEAR, "cache": "miss"},
    }
    return Sample(**(known | changes))


def answered(row: int, cost: str, model: str = DEAR, cache: str | None = None, **changes: Any) -> Answered:
    known: dict[str, Any] = {"is_completed": True, "is_accepted": True}
    return Answered(row=row, model=model, cache=cache, dollars=Decimal(cost), **(known | changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (100 * PRICES.dear.input + 10 * PRICES.dear.output) / 1_000_000),
        ({"model": HOSTED}, (100 * PRICES.dear.input + 10 * PRICES.dear.output) / 1_000_000),
        ({"model": CHEAP}, (100 * PRICES.cheap.input + 10 * PRICES.cheap.output) / 1_000_000),
        (
            {"cached_tokens": 60},
            (40 * PRICES.dear.input + 60 * Decimal("0.20") + 10 * PRICES.dear.output) / 1_000_000,
        ),
        ({"cache": "hit"}, Decimal()),
        ({"cache": "shared"}, Decimal()),
        ({"model": None, "error": "connect"}, Decimal()),
    ],
)
def test_tokens_cost_what_the_model_that_answered_costs_and_kept_answers_nothing(
    changes: dict[str, Any], expected: Decimal
) -> None:
    assert dollars(sample(**changes), PRICES) == expected


def test_a_model_without_a_price_is_an_error() -> None:
    with pytest.raises(KeyError):
        dollars(sample(model="other"), PRICES)


def test_a_step_is_told_with_who_answered_and_how_much_cheaper_it_is() -> None:
    off = [[answered(0, "4"), answered(0, "4"), answered(1, "8"), answered(2, "8")]]
    both = [
        [
            answered(0, "4", cache="miss", is_same=True, likeness=1.0),
            answered(0, "0", cache="hit", is_same=True, likeness=1.0),
            answered(1, "1", CHEAP, "miss", is_same=False, likeness=0.4),
            answered(2, "1", CHEAP, "miss", is_accepted=False, is_same=False, likeness=0.0),
        ]
    ]
    first, last = step_costs({"off": off, "both": both}, 0.25, seed=0)
    assert first.per_accepted is not None
    assert last.per_accepted is not None
    assert first.times_cheaper is not None
    assert last.times_cheaper is not None
    assert (first.per_accepted.value, first.times_cheaper.value, first.times_cheaper.low) == (6.0, 1.0, 1.0)
    assert (last.per_accepted.value, last.times_cheaper.value, last.median) == (2.0, 3.0, 2.0)
    assert last.times_cheaper.low is not None
    assert last.times_cheaper.low <= 3.0
    assert (last.requests, last.completed, last.accepted, last.dollars) == (4, 4, 3, 6.0)
    assert (last.free_share, last.cheap_share, last.dear_share) == (0.25, 0.5, 0.25)
    assert (last.answered_by, last.free) == ({DEAR: 1, CHEAP: 2}, {"hit": 1})
    assert last.routed_dear_share == pytest.approx(1 / 3)
    assert (last.same_share, last.likeness) == (0.5, pytest.approx(0.6))
    assert step_costs({"off": off, "both": both}, 0.25, seed=0) == [first, last]


def test_failed_requests_are_paid_for_and_not_accepted() -> None:
    (one,) = step_costs(
        {"off": [[answered(0, "3"), answered(1, "1", is_completed=False, is_accepted=False)]]}, 0.0, seed=0
    )
    assert one.per_accepted is not None
    assert (one.per_accepted.value, one.per_accepted.high) == (4.0, None)
    (none,) = step_costs({"off": [[answered(1, "1", is_completed=False, is_accepted=False)]]}, 0.0, seed=0)
    assert (none.per_accepted, none.times_cheaper, none.rounds) == (None, None, [None])
