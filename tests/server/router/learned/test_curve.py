from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.router.learned.curve import Curve, Order

ROWS = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40).filter(
    lambda rows: sum(strong for _, strong, _ in rows) > sum(weak for weak, _, _ in rows)
)


def order(score: list[float], weak: list[float], strong: list[float]) -> Order:
    zeros, ones = np.zeros(len(score)), np.ones(len(score))
    return Order(np.array(score, dtype=float), np.array(weak, dtype=float), np.array(strong, dtype=float), zeros, ones)


def columns(rows: list[tuple[bool, bool, int]]) -> tuple[list[float], list[float], list[float]]:
    return [row[2] for row in rows], [float(row[0]) for row in rows], [float(row[1]) for row in rows]


def test_the_figures_are_those_worked_out_by_hand() -> None:
    # The weak model is right on the last two; strong on all but the last. In this order the gains are 1, 1, 0, -1.
    curve = order([4, 3, 2, 1], [0, 0, 1, 1], [1, 1, 1, 0]).curve()
    assert curve.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curve.quality.tolist() == [0.5, 0.75, 1, 1, 0.75]
    assert curve.recovered.tolist() == [0, 1, 2, 2, 1]
    assert curve.apgr == pytest.approx((0.5 + 1.5 + 2 + 1.5) / 4)
    assert curve.share_for_gap(0.5) == pytest.approx(0.125)
    assert curve.share_for_gap(0.8) == pytest.approx(0.2)
    assert curve.share_for_quality(0.95) == pytest.approx(0.25 * (0.95 * 0.75 - 0.5) / 0.25)
    # The hull never falls: 0.5 to 1 over the first half, then 1.
    assert curve.aiq == pytest.approx(0.5 * 0.75 + 0.5 * 1)


def test_costs_stretch_the_hull_over_what_is_spent() -> None:
    cheap_first = Order(*(np.array(row, dtype=float) for row in ([2, 1], [0, 0], [1, 1], [0, 0], [1, 3])))
    # Quality 0.5 after a quarter of the cost, 1 after all of it.
    assert cheap_first.curve().aiq == pytest.approx(0.25 * 0.25 + 0.75 * 0.75)


def test_equal_scores_are_averaged_over_their_orders() -> None:
    whole = order([0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 0]).curve()
    assert whole.apgr == pytest.approx(0.5)
    half = order([1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]).curve()
    assert half.shares.tolist() == [0, 0.5, 1]
    assert half.apgr == pytest.approx(0.5)


@given(ROWS)
def test_no_order_beats_the_oracle(rows: list[tuple[bool, bool, int]]) -> None:
    score, weak, strong = columns(rows)
    curve = order(score, weak, strong).curve()
    oracle = order([b - a for a, b in zip(weak, strong, strict=True)], weak, strong).curve()
    reverse = order([a - b for a, b in zip(weak, strong, strict=True)], weak, strong).curve()
    assert reverse.apgr - 1e-9 <= curve.apgr <= oracle.apgr + 1e-9
    assert curve.aiq <= oracle.aiq + 1e-9
    assert oracle.share_for_quality(0.95) <= curve.share_for_quality(0.95) + 1e-9


@given(ROWS)
def test_saying_nothing_is_a_random_router(rows: list[tuple[bool, bool, int]]) -> None:
    _, weak, strong = columns(rows)
    curve = order([7] * len(rows), weak, strong).curve()
    assert curve.apgr == pytest.approx(0.5)
    assert curve.share_for_gap(0.8) == pytest.approx(0.8)


@given(ROWS, st.data())
def test_weights_count_as_repetitions(rows: list[tuple[bool, bool, int]], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)).filter(any))
    repeated = [row for row, times in zip(rows, weights, strict=True) for _ in range(times)]
    weighted, whole = order(*columns(rows)).curve(np.array(weights)), order(*columns(repeated)).curve()
    shares = np.linspace(0, 1, 20)
    found = [np.interp(shares, one.shares, one.quality) for one in (weighted, whole)]
    assert found[0] == pytest.approx(found[1])


def test_without_a_gap_there_is_no_pgr() -> None:
    curve = Curve(np.array([0.0, 1.0]), np.array([0.5, 0.5]), np.array([0.0, 1.0]))
    assert np.isnan(curve.apgr)
    assert np.isnan(curve.share_for_gap(0.5))
