"""What becomes of a parameter that no wire type reads: known but refused, or unknown and warned about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pennyweight.server.errors import UnsupportedParameter

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")
_MAX_NAMED = 16


@dataclass(frozen=True, slots=True)
class Refusal:
    """A known parameter that can't be honoured here, unless it has a value that asks for nothing; null always does."""

    neutral: tuple[object, ...] = ()
    hint: str = ""


_BOTH: Mapping[str, Refusal] = {
    "use_beam_search": Refusal(neutral=(False,)),
    "length_penalty": Refusal(neutral=(1, 1.0)),
    "best_of": Refusal(neutral=(1,), hint="Ask for n choices and pick among them instead."),
    "early_stopping": Refusal(neutral=(False,)),
    "truncate_prompt_tokens": Refusal(hint="Nothing is cut from a prompt here."),
    "allowed_token_ids": Refusal(),
    "bad_words": Refusal(neutral=([],)),
    "logits_processors": Refusal(neutral=([],)),
    "spaces_between_special_tokens": Refusal(neutral=(True,)),
    "detokenize": Refusal(neutral=(True,)),
    "return_token_ids": Refusal(neutral=(False,)),
    "return_tokens_as_token_ids": Refusal(neutral=(False,)),
    "truncation_side": Refusal(),
    "prompt_embeds": Refusal(),
}

REFUSED_IN_CHAT: Mapping[str, Refusal] = _BOTH | {
    "functions": Refusal(hint="It is deprecated: use 'tools'."),
    "function_call": Refusal(neutral=("none",), hint="It is deprecated: use 'tool_choice'."),
    "audio": Refusal(),
    "modalities": Refusal(neutral=(["text"],), hint="Only text is generated."),
    "prediction": Refusal(),
    "web_search_options": Refusal(),
    "moderation": Refusal(),
    "reasoning_effort": Refusal(neutral=("none",)),
    "include_reasoning": Refusal(neutral=(True, False)),
    "verbosity": Refusal(neutral=("medium",)),
    "echo": Refusal(neutral=(False,), hint="Use /v1/completions."),
    "add_special_tokens": Refusal(neutral=(False,), hint="The chat template writes the special tokens."),
    "chat_template": Refusal(hint="A template is set when the server is started."),
    "documents": Refusal(neutral=([],)),
    "suffix": Refusal(),
}

REFUSED_IN_COMPLETIONS: Mapping[str, Refusal] = _BOTH | {
    "suffix": Refusal(neutral=("",), hint="The model was not trained to fill in the middle."),
    "tools": Refusal(neutral=([],), hint="Use /v1/chat/completions."),
    "messages": Refusal(hint="Use /v1/chat/completions."),
}


def unread_names(body: Mapping[str, Any], read: frozenset[str], refused: Mapping[str, Refusal]) -> list[str]:
    """The unknown names in a body. Raises UnsupportedParameter for a known one that asks for what can't be done."""
    unread = body.keys() - read
    if not unread:
        return []
    for name in sorted(unread & refused.keys()):
        value, refusal = body[name], refused[name]
        # 1 == True in Python, not in JSON.
        if value is not None and not any(type(value) is type(one) and value == one for one in refusal.neutral):
            hint = f" {refusal.hint}" if refusal.hint else ""
            raise UnsupportedParameter(f"Unsupported parameter: '{name}' is not supported here.{hint}", param=name)
    return sorted(unread - refused.keys())


def warning_of(unknown: Iterable[str]) -> str | None:
    """The text of the warning header for names that were ignored; names that are not plain are not repeated."""
    names = [name if _PLAIN_NAME.fullmatch(name) else "(not printable)" for name in unknown]
    if not names:
        return None
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"unknown parameter(s) ignored: {', '.join(names[:_MAX_NAMED])}{more}"
