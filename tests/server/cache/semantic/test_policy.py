"""The bound on wrong hits, over streams that are made to break it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from pennyweight.server.cache.semantic.bound import Bound
from pennyweight.server.cache.semantic.evidence import log_evidence
from pennyweight.server.cache.semantic.features import Comparer, Features, Neighbour
from pennyweight.server.cache.semantic.policy import Decision, Policy, Verdict
from pennyweight.server.cache.semantic.standing import Standing
from pennyweight.server.cache.semantic.threshold_model import ThresholdModel
from pennyweight.server.cache.semantic.wording import wording_of
from pennyweight.server.cache.semantic.wrong_budget import WrongBudget

VOCABULARY = [a + b for a in ("lam", "tor", "pel", "gun", "wis", "mar") for b in ("ba", "do", "fi", "ku", "ze")]
# Whether an answer is right: of the similarity, the number of the request, and a generator of its own.
Truth = Callable[[float, int, random.Random], bool]


@dataclass
class Played:
    """``shares`` are the wrong hits of all requests after each, ``wrong`` and ``hits`` of the whole stream."""

    decisions: list[tuple[Verdict, float]]
    shares: list[float]
    hits: int
    wrong: int
    policy: Policy


def play(truth: Truth, bound: Bound, requests: int = 3000, seed: int = 0) -> Played:
    """A stream of requests with a candidate each, of which ``truth`` says whether it is right."""
    drawn = random.Random(seed)
    policy = Policy(bound)
    standings = [Standing() for _ in range(50)]
    texts = [wording_of(" ".join(drawn.choices(VOCABULARY, k=6))) for _ in range(50)]
    found = Played([], [], 0, 0, policy)
    for number in range(requests):
        similarity = drawn.random()
        place = drawn.randrange(50)
        # As many of its words are those of the kept text as its similarity says.
        words = [stem if drawn.random() < similarity else drawn.choice(VOCABULARY) for stem in texts[place].stems]
        cosine = 0.7 + 0.3 * similarity
        decision = policy.decide(
            number.to_bytes(8, "little"),
            wording_of(" ".join(words)),
            [Neighbour(cosine, texts[place], standings[place])],
        )
        is_right = truth(similarity, number, drawn)
        found.decisions.append((decision.verdict, decision.odds))
        if decision.verdict is Verdict.HIT:
            found.hits += 1
            found.wrong += not is_right
        else:
            policy.learn(decision, is_right)
        found.shares.append(found.wrong / (number + 1))
    return found


def steep(similarity: float, number: int, drawn: random.Random) -> bool:
    return drawn.random() < (0.999 if similarity > 0.6 else 0.3)


TRUTHS: dict[str, Truth] = {
    "steep": steep,
    "never right": lambda similarity, number, drawn: False,
    "a coin": lambda similarity, number, drawn: drawn.random() < 0.5,
    "the nearest are wrong": lambda similarity, number, drawn: similarity < 0.9,
    "the nearest are half wrong": lambda similarity, number, drawn: similarity < 0.8 or drawn.random() < 0.5,
    "right until it is trusted": lambda similarity, number, drawn: number < 1500,
    "wrong in turns": lambda similarity, number, drawn: number // 500 % 2 == 0,
    "too many wrong": lambda similarity, number, drawn: drawn.random() < 0.92,
    "right on average": lambda similarity, number, drawn: drawn.random() < 0.97,
}


@pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS)
@pytest.mark.parametrize("share", [0.05, 0.2])
def test_the_strict_bound_holds_at_all_times_whatever_is_right(truth: Truth, share: float) -> None:
    assert max(play(truth, Bound(share=share, strict=True)).shares) <= share


def test_where_there_is_an_order_it_is_found_and_used() -> None:
    for over in ("requests", "hits"):
        found = play(steep, Bound(share=0.05, over=over))
        assert found.hits > 500
        assert found.wrong <= 0.05 * (3000 if over == "requests" else found.hits)
    # The strict bound waits until there is room for what it can't see, and has hits all the same.
    assert play(steep, Bound(share=0.05, strict=True)).hits > 200


@pytest.mark.parametrize("truth", [TRUTHS["never right"], TRUTHS["a coin"]])
def test_over_hits_nothing_is_given_where_nothing_is_sure(truth: Truth) -> None:
    assert play(truth, Bound(share=0.05, over="hits")).hits == 0


def test_over_hits_it_is_seldom_chance_that_something_is_given() -> None:
    """A little more are wrong than the bound allows, at any odds: by an estimate some threshold looks good enough at some time."""
    given = [play(TRUTHS["too many wrong"], Bound(share=0.05, over="hits"), 1500, seed).hits for seed in range(8)]
    assert sum(hits > 0 for hits in given) <= 1


def test_evidence_against_too_many_wrong_is_seldom_had_by_chance() -> None:
    drawn, share, alpha = np.random.default_rng(0), 0.05, 0.1
    wrong = np.cumsum(drawn.random((400, 2000)) < share, axis=1).astype(float)
    right = np.arange(1.0, 2001.0) - wrong
    assert np.mean(log_evidence(right, wrong, share).max(axis=1) >= -math.log(alpha)) <= alpha
    # And it is had where there is any.
    assert log_evidence(np.array([200.0]), np.array([1.0]), share)[0] > -math.log(alpha)


def test_the_same_stream_gives_the_same_decisions() -> None:
    assert play(steep, Bound(share=0.05)).decisions == play(steep, Bound(share=0.05)).decisions


def test_audits_are_a_share_of_what_would_be_given() -> None:
    found = play(steep, Bound(share=0.05, audit_share=0.3))
    audits = sum(verdict is Verdict.AUDIT for verdict, _ in found.decisions)
    assert 0.25 < audits / (audits + found.hits) < 0.35


def test_the_bound_by_audits_is_seldom_passed() -> None:
    passed = 0
    for seed in range(400):
        drawn = random.Random(seed)
        budget, given = WrongBudget(0.1, alpha=0.1), 0
        for _ in range(300):  # all of them wrong
            if drawn.random() < 0.1:
                budget.saw_wrong()
            else:
                given += 1
            if given > budget.bound():
                passed += 1
                break
    assert passed <= 0.1 * 400


def test_an_audit_that_nobody_can_judge_counts_as_wrong() -> None:
    policy = Policy(Bound())
    before = policy.budget.bound()
    policy.unjudged(Decision(Verdict.EXPLORE))
    assert policy.budget.bound() == before
    policy.unjudged(Decision(Verdict.AUDIT))
    assert policy.budget.bound() > before


def test_an_entry_departs_from_the_common_threshold_as_its_own_pairs_say() -> None:
    model, comparer = ThresholdModel(), Comparer()
    text = wording_of("lamba torfi pelku")
    good, bad, new = Standing(), Standing(), Standing()

    def features(standing: Standing) -> Features:
        return comparer.features(text, [Neighbour(0.95, text, standing)], 0)

    for _ in range(20):
        model.learn(features(good), good, True)
        model.learn(features(bad), bad, False)
    odds = [model.log_odds(features(one), one) for one in (good, new, bad)]
    assert odds == sorted(odds, reverse=True)
    assert odds[0] - odds[2] > 2
    assert good.variance < new.variance
    assert (good.right, good.wrong, bad.right, bad.wrong) == (20, 0, 0, 20)
