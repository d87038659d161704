"""What a replay may show of a request, and where two answers part."""

from __future__ import annotations

import enum

import msgspec


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
