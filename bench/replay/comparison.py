"""A recorded answer beside the one that its request got again."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pennyweight.quantize.quality.answers import matched_prefix
from pennyweight.server.record.record import Record, RecordedChoice
from pennyweight.server.record.redaction import ANSWERS

from .answer import Answer, AnsweredChoice
from .choice import compare_choice
from .decisions import route_differences
from .verdict import Difference, Parting, Verdict

# What a client that left has made of its request: its answer is compared as far as it goes.
CANCELLED = "cancelled"
# What a request is refused with for its own sake, and so whenever it is sent.
OF_THE_REQUEST = frozenset(
    {"context_length_exceeded", "invalid_grammar", "invalid_value", "unsupported_parameter", "no_answer"}
)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a request. ``tokens`` of the answer were compared, of which the first ``matched`` of each choice are equal.

    ``prompt_position`` is the first token in which the prompts differ. ``differences`` are further ones: of the answer's text and end, of
    the router's decision. ``reason`` says why there is no more to tell.
    """

    id: str
    verdict: Verdict
    tokens: int = 0
    matched: int = 0
    parting: Parting | None = None
    prompt_position: int | None = None
    differences: tuple[Difference, ...] = ()
    reason: str = ""


def compare(record: Record, answer: Answer) -> Comparison:
    """A record and the answer that its request got now."""
    if record.error is not None and record.error != CANCELLED:
        return _compare_errors(record, answer)
    if answer.error is not None:
        return Comparison(id=record.id, verdict=Verdict.FAILED, reason=f"{answer.error}: {answer.message}")
    pairs = list(_pairs(record, answer))
    if not any(one.token_ids or one.logits_hashes or one.text for one, _ in pairs) and record.error == CANCELLED:
        return skipped(record, "its client left before there was an answer")
    if len(pairs) < len(record.choices):
        return Comparison(id=record.id, verdict=Verdict.FAILED, reason="choices are missing from the answer")
    is_redacted = ANSWERS in record.redacted
    compared = [compare_choice(one, other, is_redacted=is_redacted) for one, other in pairs]
    worst = max(compared, key=lambda one: _ORDER.index(one.verdict), default=None)
    if worst is None:
        return skipped(record, "there is no answer in the record")
    position = _prompt_position(record, answer)
    return Comparison(
        id=record.id,
        verdict=worst.verdict if position is None else Verdict.PROMPT,
        tokens=sum(one.tokens for one in compared),
        matched=sum(one.matched for one in compared),
        parting=next((one.parting for one in compared if one.parting is not None), None),
        prompt_position=position,
        differences=(
            *(found for one in compared for found in one.differences),
            *(Difference(*found) for found in route_differences(record, answer)),
        ),
    )


def skipped(record: Record, reason: str) -> Comparison:
    """Nothing to compare."""
    return Comparison(id=record.id, verdict=Verdict.SKIPPED, reason=reason)


_ORDER = tuple(Verdict)


def _compare_errors(record: Record, answer: Answer) -> Comparison:
    if record.error not in OF_THE_REQUEST:
        return skipped(record, f"it failed with {record.error}, by no fault of its own")
    if answer.error == record.error:
        return Comparison(id=record.id, verdict=Verdict.REFUSED)
    now = "is answered" if answer.error is None else f"fails with {answer.error}"
    return Comparison(id=record.id, verdict=Verdict.FAILED, reason=f"it was refused with {record.error}, and now {now}")


def _pairs(record: Record, answer: Answer) -> Iterator[tuple[RecordedChoice, AnsweredChoice]]:
    by_index = {one.index: one for one in answer.choices}
    for one in record.choices:
        if one.index in by_index:
            yield one, by_index[one.index]


def _prompt_position(record: Record, answer: Answer) -> int | None:
    recorded, now = record.prompt_token_ids, answer.prompt_token_ids
    if not recorded or not now or recorded == now:
        return None
    return matched_prefix(recorded, now)
