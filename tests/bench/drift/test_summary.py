from __future__ import annotations

import math

import msgspec
import pytest
from fakes.recorded import record

from pennyweight.bench.drift.ask import greedy, is_usable
from pennyweight.bench.drift.heard import Heard, spooling
from pennyweight.bench.drift.summary import Pairs, Side
from pennyweight.bench.replay.manifests import Difference
from pennyweight.bench.replay.score import Score

A, B = Side(name="A"), Side(name="B")


def heard(id: str, *token_ids: int, top: int = 5, logprob: float = -0.5) -> Heard:
    """What an engine says to a request whose recorded answer is one token."""
    return Heard(
        id=id,
        answer=(5,),
        model="tiny",
        prompt_token_ids=(1, 2),
        token_ids=token_ids,
        text="".join(map(chr, token_ids)),
        score=Score([logprob], [[top]], [[logprob]]),
    )


def test_equal_engines_have_no_distance() -> None:
    pairs = Pairs(show=3)
    for id in ("one", "two"):
        pairs.add(heard(id, 65, 66), heard(id, 65, 66))
    found = pairs.drift(A, B, (), seed=0)
    assert found.answers is not None
    assert found.forced is not None
    assert (found.answers.equal.value, found.answers.parted) == (1.0, (None, None))
    assert (found.forced.top1.value, found.forced.kl.value, found.forced.largest_difference) == (1.0, 0.0, 0.0)
    assert found.parted == ()


def test_distances_are_over_tokens_and_partings_are_shown() -> None:
    pairs = Pairs(show=1)
    pairs.add(heard("one", 65, 66, 67), heard("one", 65, 66, 68, top=6, logprob=-0.7))
    pairs.add(heard("two", 65), heard("two", 65))
    pairs.add(heard("three", 65), msgspec.structs.replace(heard("three", 66), prompt_token_ids=(1,)))
    found = pairs.drift(A, B, (Difference("weights", "a", "b"),), seed=0)
    assert (found.requests, found.other_prompts) == (3, 1)
    assert found.forced is not None
    assert found.forced.top1.value == pytest.approx(2 / 3)
    assert found.forced.difference.value == pytest.approx(0.2 / 3)
    assert found.forced.largest_difference == pytest.approx(0.2)
    p, q = math.exp(-0.5), math.exp(-0.7)
    whole = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert found.forced.kl.value == pytest.approx(whole / 3)
    assert found.answers is not None
    assert found.answers.parted == (2, None, 0)
    (parted,) = found.parted
    assert (parted.id, parted.position, parted.before, parted.one, parted.other) == ("one", 2, "AB", "C", "D")


def test_what_one_engine_does_not_answer_is_left_out_with_its_reason() -> None:
    pairs = Pairs(show=1)
    pairs.add(heard("one", 65), Heard(id="one", answer=(5,), error="engine_error: it died"))
    unscored = msgspec.structs.replace(heard("two", 65), score=None, unscored="no prompt_logprobs")
    pairs.add(heard("two", 65), unscored)
    found = pairs.drift(A, B, (), seed=0)
    assert found.requests == 1
    assert found.forced is None
    assert found.left_out == {"engine_error: it died": 1, "not scored: no prompt_logprobs": 1}


def test_nothing_that_was_answered_is_no_drift() -> None:
    found = Pairs(show=1).drift(A, B, (), seed=0)
    assert (found.requests, found.answers, found.forced) == (0, None, None)


def test_a_spool_gives_back_what_was_heard() -> None:
    with spooling() as spool:
        for id in ("one", "two", "three"):
            spool.write(heard(id, *map(ord, id)))
        assert spool.read("two") == heard("two", *map(ord, "two"))
        assert spool.read("three").text == "three"


def test_the_recorded_request_is_asked_greedily_and_as_long_as_its_answer() -> None:
    body = '{"model":"auto","prompt":"Hi","temperature":0.9,"top_p":0.5,"seed":4,"n":2,"stop":["x"],"max_tokens":99}'
    sending = greedy(record(received=body, seed=7, determinism="bitwise"), "tiny")
    assert sending.body == {
        **{"model": "tiny", "prompt": "Hi", "temperature": 0, "stop": ["x"], "max_tokens": 4},
        "return_token_ids": True,
    }
    assert sending.headers == {"cache-control": "no-store"}
    assert is_usable(record())
    assert not is_usable(record(error="engine_dead"))
    assert not is_usable(record(choices=()))
