from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from pennyweight.quantize.quality.divergence import compare, log_softmax


def logits(*rows: tuple[float, ...]) -> np.ndarray:
    """Logits whose softmax has these probabilities, each row shifted by another constant."""
    shifts = 3.0 * np.arange(len(rows))[:, None]
    return (np.log(np.array(rows)) + shifts).astype(np.float32)


def test_divergence_is_that_of_the_definition() -> None:
    base, other = logits((0.5, 0.5), (0.9, 0.1)), logits((0.25, 0.75), (0.6, 0.4))
    found = compare(base, other, np.array([0, 1]))
    by_hand = [0.5 * log(2) + 0.5 * log(0.5 / 0.75), 0.9 * log(0.9 / 0.6) + 0.1 * log(0.1 / 0.4)]
    assert found.kl.tolist() == pytest.approx(by_hand, rel=1e-6)
    assert np.exp(-found.base_nll).tolist() == pytest.approx([0.5, 0.1], rel=1e-6)
    assert np.exp(-found.other_nll).tolist() == pytest.approx([0.25, 0.4], rel=1e-6)


def test_divergence_is_from_the_base_and_not_to_it() -> None:
    sharp, flat = logits((0.98, 0.01, 0.01)), logits((1 / 3, 1 / 3, 1 / 3))
    there, back = (compare(one, two, np.array([0])).kl[0] for one, two in ((sharp, flat), (flat, sharp)))
    assert there == pytest.approx(0.98 * log(0.98 * 3) + 0.02 * log(0.03), rel=1e-5)
    assert back == pytest.approx(log(1 / 3) - (log(0.98) + 2 * log(0.01)) / 3, rel=1e-5)


def test_a_model_diverges_from_itself_by_exactly_nothing() -> None:
    rows = np.random.default_rng(0).normal(0, 8, (70, 5003)).astype(np.float32)
    found = compare(rows, rows.copy(), np.zeros(70, dtype=np.int64))
    assert found.kl.tolist() == [0.0] * 70
    assert found.agrees.all()
    assert (found.base_nll == found.other_nll).all()


def test_agreement_is_about_the_most_probable_token_alone() -> None:
    found = compare(
        logits((0.5, 0.3, 0.2), (0.5, 0.3, 0.2)), logits((0.4, 0.3, 0.3), (0.3, 0.4, 0.3)), np.array([0, 0])
    )
    assert found.agrees.tolist() == [True, False]


def test_no_logit_is_too_large_and_none_too_small() -> None:
    rows = np.array([[3e4, 0.0, -3e4]], dtype=np.float32)
    assert np.exp(log_softmax(rows)).tolist() == [[1.0, exp(-3e4), 0.0]]
    assert np.isfinite(compare(rows, -rows, np.array([2])).kl).all()
