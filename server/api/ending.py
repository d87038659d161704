"""What a choice ends with beside its finish reason, where there is more to say."""

from __future__ import annotations

from typing import Any

import msgspec

from pennyweight.server.types import BeamScore

_encode = msgspec.json.Encoder().encode


def ending_fields(stop_reason: str | int | None, beam_score: BeamScore | None) -> dict[str, Any]:
    """Members of a choice: what it was stopped by, which vLLM's users know, and what beam search ranked it by."""
    found: dict[str, Any] = {}
    if stop_reason is not None:
        found["stop_reason"] = stop_reason
    if beam_score is not None:
        found |= {"cumulative_logprob": beam_score.cumulative_logprob, "score": beam_score.score}
    return found


def ending_json(stop_reason: str | int | None, beam_score: BeamScore | None) -> bytes:
    """The same as JSON, to follow a member of the choice's object."""
    found = ending_fields(stop_reason, beam_score)
    return b"," + _encode(found)[1:-1] if found else b""
