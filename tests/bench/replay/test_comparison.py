from __future__ import annotations

import pytest
from fakes.recorded import HASHES, TOKENS, answer, answered_choice, record, recorded_choice

from pennyweight.bench.replay.comparison import compare
from pennyweight.bench.replay.verdict import Difference, Parting, Verdict
from pennyweight.server.record.redaction import ANSWERS, without_answer
from pennyweight.server.types import Route

OTHER_LOGITS = HASHES[:16] + b"x" * 16


def test_equal_tokens_and_logits_are_bitwise_equal() -> None:
    found = compare(record(), answer())
    assert (found.verdict, found.tokens, found.matched, found.parting) == (Verdict.BITWISE, 4, 4, None)


@pytest.mark.parametrize("hashes", [(b"", HASHES), (HASHES, b""), (b"", b"")])
def test_without_hashes_of_both_the_logits_are_unknown(hashes: tuple[bytes, bytes]) -> None:
    one = record(choices=(recorded_choice(logits_hashes=hashes[0]),))
    assert compare(one, answer(answered_choice(hashes=hashes[1]))).verdict is Verdict.TOKENS


def test_other_logits_are_found_where_the_tokens_are_equal() -> None:
    found = compare(record(), answer(answered_choice(hashes=OTHER_LOGITS)))
    assert found.verdict is Verdict.LOGITS
    assert found.parting == Parting(choice=0, logits=2)


def test_the_first_token_that_differs_is_told_with_the_first_logits_that_do() -> None:
    now = answered_choice(token_ids=(11, 12, 13, 99), hashes=OTHER_LOGITS, text="a b c x")
    found = compare(record(), answer(now))
    assert (found.verdict, found.matched) == (Verdict.DIVERGED, 3)
    assert found.parting == Parting(choice=0, position=3, recorded=14, replayed=99, logits=2)
    assert found.differences == ()  # other than those that follow


@pytest.mark.parametrize(
    ("token_ids", "parting"),
    [
        (TOKENS[:2], Parting(choice=0, position=2, recorded=13, replayed=None, logits=2)),
        ((*TOKENS, 15), Parting(choice=0, position=4, recorded=None, replayed=15, logits=4)),
    ],
)
def test_an_answer_that_is_longer_or_shorter_parts_where_the_other_ends(
    token_ids: tuple[int, ...], parting: Parting
) -> None:
    hashes = (HASHES + b"8 digits")[: 8 * len(token_ids)]
    found = compare(record(), answer(answered_choice(token_ids=token_ids, hashes=hashes)))
    assert (found.verdict, found.parting) == (Verdict.DIVERGED, parting)


def test_an_answer_that_ends_otherwise_is_no_equal_one() -> None:
    found = compare(record(), answer(answered_choice(finish_reason="stop")))
    assert found.verdict is Verdict.DIVERGED
    assert found.differences == (Difference("finish_reason", "length", "stop"),)


def test_another_prompt_is_told_before_what_follows_from_it() -> None:
    found = compare(record(), answer(answered_choice(token_ids=(99,), hashes=b""), prompt_token_ids=(1, 2, 4, 3)))
    assert (found.verdict, found.prompt_position) == (Verdict.PROMPT, 2)


def test_an_answer_whose_client_left_is_compared_as_far_as_it_goes() -> None:
    part = recorded_choice(token_ids=TOKENS[:2], logits_hashes=HASHES[:16], text="a b", finish_reason=None)
    found = compare(record(error="cancelled", choices=(part,)), answer())
    assert (found.verdict, found.tokens, found.matched) == (Verdict.BITWISE, 2, 2)


@pytest.mark.parametrize("error", ["cancelled", "rate_limit_exceeded", "engine_dead", "deadline_exceeded"])
def test_what_failed_by_no_fault_of_its_own_is_not_compared(error: str) -> None:
    assert compare(record(error=error, choices=()), answer()).verdict is Verdict.SKIPPED


def test_a_refusal_is_reproduced_by_the_same_one() -> None:
    refused = record(error="context_length_exceeded", choices=())
    again = answer(status=400, error="context_length_exceeded")
    assert compare(refused, again).verdict is Verdict.REFUSED
    assert compare(refused, answer()).verdict is Verdict.FAILED


def test_a_request_without_an_answer_failed() -> None:
    found = compare(record(), answer(status=500, error="engine_error", message="it died"))
    assert (found.verdict, found.reason) == (Verdict.FAILED, "engine_error: it died")


def test_the_worst_choice_counts() -> None:
    two = record(choices=(recorded_choice(), recorded_choice(index=1)))
    found = compare(two, answer(answered_choice(), answered_choice(index=1, hashes=OTHER_LOGITS)))
    assert found.verdict is Verdict.LOGITS
    assert found.parting == Parting(choice=1, logits=2)
    assert (found.tokens, found.matched) == (8, 8)


def test_answers_that_were_left_out_of_the_record_are_compared_by_their_hashes() -> None:
    redacted = without_answer(record(redacted=(ANSWERS,)))
    assert compare(redacted, answer()).verdict is Verdict.BITWISE
    assert compare(redacted, answer(answered_choice(hashes=OTHER_LOGITS))).verdict is Verdict.LOGITS
    assert compare(redacted, answer(answered_choice(text="another"))).verdict is Verdict.DIVERGED


def test_engines_that_tell_no_tokens_are_compared_by_their_texts() -> None:
    written = record(choices=(recorded_choice(token_ids=(), logits_hashes=b""),))
    same = answered_choice(token_ids=(), hashes=b"")
    assert compare(written, answer(same)).verdict is Verdict.TEXT
    other = answered_choice(token_ids=(), hashes=b"", text="another")
    assert compare(written, answer(other)).verdict is Verdict.DIVERGED


def test_a_decision_of_the_router_is_compared_part_by_part() -> None:
    routed = record(route=Route(model="tiny", tier="quick", policy="length", reason='12 tokens, "short"'))
    same = '"tiny";tier="quick";policy="length";reason="12 tokens, \\"short\\""'
    assert compare(routed, answer(route=same)).differences == ()
    degraded = compare(routed, answer(route=same.replace("quick", "deep") + ";degraded"))
    assert degraded.verdict is Verdict.BITWISE
    assert degraded.differences == (
        Difference("route.tier", "quick", "deep"),
        Difference("route.degraded", None, "yes"),
    )
    assert {one.name for one in compare(routed, answer()).differences} == {
        *("route.model", "route.tier", "route.policy", "route.reason")
    }
