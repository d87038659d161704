"""What an answer tells of the tokens it took."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pennyweight.server.types import Usage


def usage_object(usage: Usage) -> dict[str, Any]:
    """OpenAI's usage object; ``estimated`` is ours, and only there when it is true."""
    found: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    return found | {"estimated": True} if usage.is_estimated else found


def total(usages: Iterable[Usage]) -> Usage:
    """The sum over several requests."""
    found = Usage(prompt_tokens=0, completion_tokens=0)
    for usage in usages:
        found = Usage(
            prompt_tokens=found.prompt_tokens + usage.prompt_tokens,
            completion_tokens=found.completion_tokens + usage.completion_tokens,
            cached_tokens=found.cached_tokens + usage.cached_tokens,
            is_estimated=found.is_estimated or usage.is_estimated,
        )
    return found
