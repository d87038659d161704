from __future__ import annotations

from math import log

import numpy as np
import pytest

from pennyweight.quantize.quality.divergence import Divergence
from pennyweight.quantize.quality.held_text import Window, cut, summarise
from pennyweight.quantize.quality.samples import HELD_TEXT


def window(kl: list[float], agrees: list[bool], base: list[float], other: list[float]) -> Divergence:
    """``base`` and ``other`` are the probabilities of the text's tokens."""
    return Divergence(np.array(kl), np.array(agrees), -np.log(np.array(base)), -np.log(np.array(other)))


def test_windows_begin_as_a_text_does_and_predict_every_token_once() -> None:
    assert list(cut([10, 11, 12, 13, 14], [1], 3)) == [
        Window([1, 10, 11], 0),
        Window([1, 12, 13], 0),
        Window([1, 14], 0),
    ]


def test_without_a_beginning_the_first_token_of_each_window_is_given() -> None:
    # What is left over has one token, which nothing predicts.
    assert list(cut([10, 11, 12, 13, 14], [], 2)) == [Window([10, 11], 0), Window([12, 13], 0)]


def test_no_more_is_read_than_was_asked_for() -> None:
    assert list(cut(range(100), [1, 2], 5, at_most=4)) == [Window([1, 2, 0, 1, 2], 1), Window([1, 2, 3], 1)]


def test_scores_are_over_tokens_and_not_over_windows() -> None:
    scores = summarise(
        [
            window([0.1, 0.2, 0.3], [True, True, False], [0.5, 0.5, 0.25], [0.5, 0.25, 0.25]),
            window([0.6], [True], [0.5], [0.25]),
        ]
    )
    assert (scores.tokens, scores.windows) == (4, 2)
    assert scores.kl.value == pytest.approx(1.2 / 4)
    assert scores.top1.value == pytest.approx(3 / 4)
    # Minus log2 of the probabilities: 1 + 1 + 2 + 1 = 5 and 1 + 2 + 2 + 2 = 7, over four tokens.
    assert log(scores.base_perplexity.value, 2) == pytest.approx(5 / 4)
    assert log(scores.perplexity.value, 2) == pytest.approx(7 / 4)
    assert log(scores.perplexity_ratio.value, 2) == pytest.approx(2 / 4)
    assert scores.kl.low == pytest.approx(0.2)
    assert scores.kl.high == pytest.approx(0.6)
    assert (scores.kl_quantiles[0], scores.kl_quantiles[-1]) == (pytest.approx(0.1), pytest.approx(0.6))


def test_equal_models_have_equal_scores() -> None:
    one = window([0.0] * 5, [True] * 5, [0.3] * 5, [0.3] * 5)
    scores = summarise([one, one])
    assert (scores.kl.low, scores.kl.value, scores.kl.high) == (0.0, 0.0, 0.0)
    assert (scores.top1.value, scores.perplexity_ratio.value) == (1.0, 1.0)


def test_the_shipped_text_is_of_many_kinds_and_of_some_length() -> None:
    text = HELD_TEXT.read_text(encoding="utf-8")
    assert 30_000 < len(text.encode()) < 60_000
    pieces = text.split("\n---\n")
    assert len(set(pieces)) == len(pieces) > 20
    for sign in ("```python", "```sql", "| planet", "Der Zug", "図書館", "村口", "العم"):
        assert sign in text
