from __future__ import annotations

import pytest

from pennyweight.quantize.quality.answers import matched_prefix, summarise


@pytest.mark.parametrize(
    ("one", "other", "length"),
    [([1, 2, 3], [1, 2, 3], 3), ([1, 2, 3], [1, 5, 3], 1), ([1, 2], [1, 2, 3], 2), ([], [1], 0), ([4], [5], 0)],
)
def test_answers_match_up_to_the_first_token_that_differs(one: list[int], other: list[int], length: int) -> None:
    assert matched_prefix(one, other) == length


def test_an_answer_that_ends_earlier_is_not_equal() -> None:
    scores = summarise([[1, 2], [3], [7, 7, 7]], [[1, 2], [3, 4], [7, 8, 7]], max_tokens=3)
    assert scores is not None
    assert scores.equal.value == pytest.approx(1 / 3)
    assert scores.parted == (None, 1, 1)
    assert scores.matched_tokens.value == pytest.approx(4 / 3)
    assert summarise([], [], max_tokens=3) is None
