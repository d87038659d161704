"""One choice of a recorded answer beside the one that its request got again."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pennyweight.quantize.quality.answers import matched_prefix
from pennyweight.server.record.record import RecordedChoice
from pennyweight.server.record.redaction import digest

from .answer import HASH_BYTES, AnsweredChoice
from .verdict import Difference, Parting, Verdict


class ChoiceComparison(msgspec.Struct, frozen=True, kw_only=True):
    """A choice's part of a ``Comparison``."""

    verdict: Verdict
    tokens: int
    matched: int
    parting: Parting | None
    differences: tuple[Difference, ...]


def compare_choice(one: RecordedChoice, other: AnsweredChoice, *, is_redacted: bool) -> ChoiceComparison:
    """A recorded choice beside the one that is answered now. Of one that ``is_redacted`` the record has no tokens, and of the text a digest."""
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
        return ChoiceComparison(verdict=verdict, tokens=0, matched=0, parting=None, differences=differences)
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
    return ChoiceComparison(
        verdict=verdict,
        tokens=max(len(one.token_ids), len(other.token_ids)) if is_whole else len(one.token_ids),
        matched=matched,
        parting=parting,
        differences=differences,
    )


def _of_hashes(
    one: RecordedChoice, verdict: Verdict, first: int | None, differences: tuple[Difference, ...]
) -> ChoiceComparison:
    count = len(one.logits_hashes) // HASH_BYTES
    return ChoiceComparison(
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


def _short(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}..."
