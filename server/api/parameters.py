"""What becomes of a parameter that no wire type reads: known but refused, or unknown and warned about."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from pennyweight.server.errors import UnsupportedParameter

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")
_INDEX = re.compile(r"\[\d+\]")
_MAX_NAMED = 16


@dataclass(frozen=True, slots=True)
class Refusal:
    """A known parameter that can't be honoured here, unless it has a value that asks for nothing; null always does."""

    neutral: tuple[object, ...] = ()
    hint: str = ""


_BOTH = {
    "truncate_prompt_tokens": Refusal(hint="Nothing is cut from a prompt here."),
    "allowed_token_ids": Refusal(),
    "bad_words": Refusal(neutral=([],)),
    "logits_processors": Refusal(neutral=([],)),
    "spaces_between_special_tokens": Refusal(neutral=(True,)),
    "detokenize": Refusal(neutral=(True,)),
    "return_tokens_as_token_ids": Refusal(neutral=(False,)),
    "truncation_side": Refusal(),
    "prompt_embeds": Refusal(),
}

REFUSED_IN_CHAT: Mapping[str, Refusal] = {
    **_BOTH,
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
    "messages[].audio": Refusal(),
    "messages[].function_call": Refusal(hint="It is deprecated: use 'tool_calls'."),
}

REFUSED_IN_COMPLETIONS: Mapping[str, Refusal] = {
    **_BOTH,
    "suffix": Refusal(neutral=("",), hint="The model was not trained to fill in the middle."),
    "tools": Refusal(neutral=([],), hint="Use /v1/chat/completions."),
    "messages": Refusal(hint="Use /v1/chat/completions."),
}

REFUSED_IN_EMBEDDINGS: Mapping[str, Refusal] = {
    "truncate_prompt_tokens": Refusal(hint="Nothing is cut from an input here."),
    "truncation_side": Refusal(),
    "messages": Refusal(hint="Give texts in 'input'."),
    "add_special_tokens": Refusal(neutral=(True,), hint="Give token ids to have others than the model's."),
    "priority": Refusal(neutral=(0,)),
}

# What clients send back from an assistant's own message, and what the index of a streamed call leaves in one.
SILENT_IN_CHAT = frozenset(
    f"messages[].{name}" for name in ("annotations", "reasoning", "reasoning_content", "weight", "tool_calls[].index")
)


def unread_names(
    body: Mapping[str, Any], read: msgspec.Struct, refused: Mapping[str, Refusal], silent: Collection[str] = ()
) -> list[str]:
    """The paths in ``body`` that ``read``, which was made of it, knows nothing of.

    ``refused`` and ``silent`` have paths without indices (``messages[].audio``); those in ``silent`` are left out. Raises
    UnsupportedParameter for one in ``refused`` that asks for what can't be done.
    """
    unknown: list[str] = []
    for path, value in _unread(body, read, ""):
        pattern = _INDEX.sub("[]", path)
        refusal = refused.get(pattern)
        if refusal is not None:
            _refuse(path, value, refusal)
        elif pattern not in silent:
            unknown.append(path)
    return unknown


def warning_of(unknown: Iterable[str]) -> str | None:
    """The text of the warning header for names that were ignored; names that are not plain are not repeated."""
    names = [name if _PLAIN_NAME.fullmatch(name) else "(not printable)" for name in unknown]
    if not names:
        return None
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"unknown parameter(s) ignored: {', '.join(names[:_MAX_NAMED])}{more}"


def _unread(raw: Any, read: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every path, with its value, of a JSON object in ``raw`` that became a struct without a field of that name."""
    if isinstance(read, msgspec.Struct):
        fields = _fields(type(read))
        for name, value in raw.items():
            if name not in fields:
                yield f"{path}.{name}" if path else name, value
            elif isinstance(value, (dict, list)):
                yield from _unread(value, getattr(read, name), f"{path}.{name}" if path else name)
    elif isinstance(read, list) and read and not isinstance(read[0], (str, int, float)):
        for index, (value, item) in enumerate(zip(raw, read, strict=True)):
            yield from _unread(value, item, f"{path}[{index}]")


@functools.cache
def _fields(struct: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(struct.__struct_encode_fields__)


def _refuse(path: str, value: object, refusal: Refusal) -> None:
    # 1 == True in Python, not in JSON.
    if value is None or any(type(value) is type(one) and value == one for one in refusal.neutral):
        return
    hint = f" {refusal.hint}" if refusal.hint else ""
    raise UnsupportedParameter(f"Unsupported parameter: '{path}' is not supported here.{hint}", param=path)
