"""A recorded answer beside the one that its request got again."""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from pennyweight.quantize.quality.answers import matched_prefix
from pennyweight.server.record.record import Record, RecordedChoice
from pennyweight.server.record.redaction import ANSWERS, digest

from .answer import HASH_BYTES, Answer, AnsweredChoice
from .decisions import route_differences

# What a client that left has made of its request: its answer is compared as far as it goes.
CANCELLED = "cancelled"
# What a request is refused with for its own sake, and so whenever it is sent.
OF_THE_REQUEST = frozenset(
    {"context_length_exceeded", "invalid_grammar", "invalid_value", "unsupported_parameter", "no_answer"}
)


class Verdict(enum.StrEnum):
    """What a replay showed of one request, the best first.

    BITWISE: every token and every logits' hash is equal. REFUSED: it was refused as before. TOKENS: every token is equal, and of the
    logits nothing is known. TEXT: so is the text, of an engine that tells no tokens. LOGITS: every token is equal, and logits
    differ. DIVERGED: tokens (or, where none are known, the text) differ. PROMPT: the prompt's tokens differ already. FAILED: there is no answer. SKIPPED: there was nothing
    to compare with.
    """

    BITWISE = "bitwise equal"
    REFUSED = "refused as before"
    TOKENS = "tokens equal, logits unknown"
    TEXT = "text equal, tokens unknown"
    LOGITS = "tokens equal, logits differ"
    DIVERGED = "diverged"
    PROMPT = "another prompt"
    FAILED = "failed"
    SKIPPED = "not compared"

    @property
    def is_bitwise(self) -> bool:
        """Whether nothing more can be asked of a replay."""
        return self in (Verdict.BITWISE, Verdict.REFUSED)


class Parting(msgspec.Struct, frozen=True, kw_only=True):
    """Where two answers' choice ``choice`` part: at token ``position``, which is ``recorded`` in one and ``replayed`` in the other (None
    where one has ended, or both go on alike). ``logits`` is the first position whose logits differ, None where they don't or aren't known.
    """

    choice: int
    position: int | None = None
    recorded: int | None = None
    replayed: int | None = None
    logits: int | None = None


class Difference(msgspec.Struct, frozen=True):
    """Something else that differs."""

    name: str
    recorded: str | None
    replayed: str | None


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
    compared = [_compare_choice(one, other, record) for one, other in pairs]
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


class _OfChoice(msgspec.Struct, frozen=True, kw_only=True):
    verdict: Verdict
    tokens: int
    matched: int
    parting: Parting | None
    differences: tuple[Difference, ...]


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


def _compare_choice(one: RecordedChoice, other: AnsweredChoice, record: Record) -> _OfChoice:
    is_redacted = ANSWERS in record.redacted
    is_whole = one.finish_reason is not None
    differences = tuple(_other_differences(one, other, is_whole=is_whole, is_redacted=is_redacted))
    text_differs = any(found.name == "text" for found in differences)
    hashes = _first_difference(one.logits_hashes, other.hashes, is_whole=is_whole)
    if not one.token_ids or not other.token_ids:
        if one.logits_hashes and other.hashes:
            # A chain of hashes tells the logits' differences, and with the text's the tokens' as well.
            verdict = Verdict.DIVERGED if text_differs else Verdict.BITWISE if hashes is None else Verdict.LOGITS
            return _of_hashes(one, verdict, hashes, differences)
        verdict = Verdict.DIVERGED if differences else Verdict.TEXT
        return _OfChoice(verdict=verdict, tokens=0, matched=0, parting=None, differences=differences)
    matched = matched_prefix(one.token_ids, other.token_ids)
    are_equal = matched == len(one.token_ids) and (not is_whole or matched == len(other.token_ids))
    are_known = len(one.logits_hashes) == HASH_BYTES * len(one.token_ids) and bool(other.hashes)
    if not are_equal:
        verdict, differences = Verdict.DIVERGED, ()  # what follows from other tokens says nothing more
    elif differences:
        verdict = Verdict.DIVERGED
    elif not are_known:
        verdict = Verdict.TOKENS
    else:
        verdict = Verdict.BITWISE if hashes is None else Verdict.LOGITS
    logits = hashes if are_known else None
    parting = None
    if not are_equal:
        parting = Parting(
            choice=one.index,
            position=matched,
            recorded=one.token_ids[matched] if matched < len(one.token_ids) else None,
            replayed=other.token_ids[matched] if matched < len(other.token_ids) else None,
            logits=logits,
        )
    elif logits is not None:
        parting = Parting(choice=one.index, logits=logits)
    return _OfChoice(
        verdict=verdict,
        tokens=max(len(one.token_ids), len(other.token_ids)) if is_whole else len(one.token_ids),
        matched=matched,
        parting=parting,
        differences=differences,
    )


def _of_hashes(
    one: RecordedChoice, verdict: Verdict, first: int | None, differences: tuple[Difference, ...]
) -> _OfChoice:
    count = len(one.logits_hashes) // HASH_BYTES
    return _OfChoice(
        verdict=verdict,
        tokens=count,
        matched=count if first is None else first,
        parting=None if first is None else Parting(choice=one.index, logits=first),
        differences=differences,
    )


def _first_difference(one: bytes, other: bytes, *, is_whole: bool) -> int | None:
    """The first token whose hashes differ, or that only one has."""
    count = len(one) // HASH_BYTES
    for place in range(count):
        part = slice(HASH_BYTES * place, HASH_BYTES * (place + 1))
        if one[part] != other[part]:
            return place
    return count if is_whole and len(other) > len(one) else None


def _other_differences(
    one: RecordedChoice, other: AnsweredChoice, *, is_whole: bool, is_redacted: bool
) -> Iterator[Difference]:
    if not is_whole:
        return
    if one.finish_reason != other.finish_reason:
        yield Difference("finish_reason", one.finish_reason, other.finish_reason)
    text = other.text
    if text is not None and one.text != (digest(text) if is_redacted else text):
        yield Difference("text", _short(one.text), _short(text))


def _prompt_position(record: Record, answer: Answer) -> int | None:
    recorded, now = record.prompt_token_ids, answer.prompt_token_ids
    if not recorded or not now or recorded == now:
        return None
    return matched_prefix(recorded, now)


def _short(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}..."
