from __future__ import annotations

import pytest

from pennyweight.bench.savings.sameness import rouge_l, words


def test_rouge_l_is_of_the_longest_common_subsequence() -> None:
    assert rouge_l("the police killed the gunman", "the police kill the gunman") == pytest.approx(0.8)
    assert rouge_l("a b c", "c b a") == pytest.approx(1 / 3)
    assert rouge_l("a b", "a b c d") == pytest.approx(2 / 3) == rouge_l("a b c d", "a b")


def test_the_ends_of_its_range() -> None:
    assert rouge_l("Same words.", "Same  words .") == 1
    assert rouge_l("", "") == 1
    assert rouge_l("a", "") == rouge_l("a", "b") == 0


def test_punctuation_counts_as_words_do() -> None:
    assert words("Don't, now!") == ["Don", "'", "t", ",", "now", "!"]
