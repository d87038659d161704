from __future__ import annotations

import math

import pytest

from pennyweight.bench.replay.answer import Ranked
from pennyweight.bench.replay.score import Score, Unscored, least_kl, read_score


def place(token: int, *probabilities: tuple[int, float], own: float | None = None) -> dict[str, Ranked]:
    """What a server tells of a token's place: the token first, then the most probable ones."""
    ranked = {str(name): Ranked(math.log(share), rank) for rank, (name, share) in enumerate(probabilities, 1)}
    chosen = Ranked(math.log(own)) if own is not None else ranked[str(token)]
    return {str(token): ranked.get(str(token), chosen)} | ranked


def test_a_score_has_each_token_and_the_most_probable_ones_in_order() -> None:
    score = read_score([place(5, (5, 0.6), (7, 0.3)), place(9, (5, 0.6), (7, 0.3), own=0.05)], (5, 9))
    assert score.top_ids == [[5, 7], [5, 7]]
    assert score.logprobs == [math.log(0.6), math.log(0.05)]
    assert score.agrees(0, 5)
    assert not score.agrees(1, 9)


@pytest.mark.parametrize("told", [[], [None], [place(7, (7, 0.5))]])
def test_what_does_not_fit_the_answer_is_no_score(told: list[dict[str, Ranked] | None]) -> None:
    with pytest.raises(Unscored):
        read_score(told, (5,))


def test_the_divergence_of_known_tokens_is_exact_and_else_at_most_the_whole_one() -> None:
    p, q = [0.5, 0.3, 0.15, 0.05], [0.4, 0.35, 0.05, 0.2]
    whole = sum(one * math.log(one / other) for one, other in zip(p, q, strict=True))

    def told(shares: list[float], count: int) -> Score:
        return read_score([place(0, *list(enumerate(shares))[:count])], (0,))

    assert least_kl(told(p, 4), told(q, 4), 0, 0) == pytest.approx(whole)
    for count in (1, 2, 3):
        assert 0 < least_kl(told(p, count), told(q, count), 0, 0) <= whole
    assert least_kl(told(p, 2), told(p, 2), 0, 0) == 0
