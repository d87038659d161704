"""What is kept of an answer to compare it with others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from pennyweight.bench.load.sample import BadAnswer


class Digest(msgspec.Struct, frozen=True):
    """``tokens`` is a hash of the token ids, ``logits`` the last of the chained hashes of the logits that they were chosen from."""

    tokens: str
    logits: str
    token_ids: tuple[int, ...]
    logits_hashes: tuple[str, ...]


def digest_of(answer: dict[str, Any], tokens: int) -> Digest:
    """Of a completion's JSON. Raises BadAnswer for one that is not of so many tokens, or has no hash for each."""
    (choice,) = answer["choices"]
    ids, hashes = tuple(choice.get("token_ids") or ()), tuple(choice.get("logits_hashes") or ())
    if len(ids) != tokens or len(hashes) != tokens:
        raise BadAnswer(f"{len(ids)} tokens and {len(hashes)} hashes of logits where {tokens} of each were asked for")
    text = ",".join(map(str, ids))
    return Digest(hashlib.sha256(text.encode()).hexdigest()[:16], hashes[-1], ids, hashes)


class Uniqueness(msgspec.Struct, frozen=True, kw_only=True):
    """How many different answers there were among ``completions``, by their tokens and by their logits' bits, and at which token
    (from 0) the first two of them parted, None where they did not."""

    completions: int
    unique_answers: int
    unique_logits: int
    first_divergent_token: int | None
    first_divergent_logits: int | None


def uniqueness(digests: Sequence[Digest]) -> Uniqueness:
    """Of at least one answer, all of the same length."""
    return Uniqueness(
        completions=len(digests),
        unique_answers=len({one.tokens for one in digests}),
        unique_logits=len({one.logits for one in digests}),
        first_divergent_token=_first_difference([one.token_ids for one in digests]),
        first_divergent_logits=_first_difference([one.logits_hashes for one in digests]),
    )


def _first_difference(rows: Sequence[Sequence[Any]]) -> int | None:
    unique = list(dict.fromkeys(map(tuple, rows)))
    return next((place for place, column in enumerate(zip(*unique, strict=True)) if len(set(column)) > 1), None)
