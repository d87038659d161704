"""What is left out of records before they are written: hooks, each from a record to one with less in it.

A text that was left out is known by its SHA-256 and its length, so that it is seen whether another one is the same. A short text can
be guessed from these.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from pennyweight.server.errors import ConfigError
from pennyweight.server.types import ChatPrompt, Message, Prompt, TextPrompt, TokensPrompt, ToolCall

from .record import Record, RecordedChoice

# From a record to what is written in its place; None leaves it out altogether. Whatever it raises does so too.
Redaction = Callable[[Record], Record | None]

PROMPTS, ANSWERS = "prompts", "answers"
_FUNCTION = "function:"


def redaction_of(hooks: Sequence[str]) -> Redaction:
    """All of the hooks one after the other: ``prompts``, ``answers`` or ``function:MODULE:NAME``. Raises ConfigError."""
    steps = [_redaction(hook) for hook in hooks]

    def redacted(record: Record) -> Record | None:
        found: Record | None = record
        for hook, step in zip(hooks, steps, strict=True):
            if found is None:
                return None
            found = step(found)
            if found is not None and hook not in found.redacted:
                found = msgspec.structs.replace(found, redacted=(*found.redacted, hook))
        return found

    return redacted


def without_prompt(record: Record) -> Record:
    """The record without what was said to the model: the body, texts and arguments in the prompt, and its token ids."""
    request = msgspec.structs.replace(record.request, prompt=redacted_prompt(record.request.prompt))
    return msgspec.structs.replace(record, received=None, prompt_token_ids=(), request=request)


def without_answer(record: Record) -> Record:
    """The record without what the model said: texts, token ids and calls. The hashes of its logits stay."""
    return msgspec.structs.replace(record, choices=tuple(map(_redacted_choice, record.choices)))


def redacted_prompt(prompt: Prompt) -> Prompt:
    """A prompt of the same form, without its texts."""
    match prompt:
        case ChatPrompt():
            return msgspec.structs.replace(
                prompt,
                messages=tuple(map(_redacted_message, prompt.messages)),
                template_kwargs=_redacted_value(prompt.template_kwargs),
            )
        case TextPrompt():
            return msgspec.structs.replace(prompt, text=digest(prompt.text))
        case TokensPrompt():
            return TextPrompt(text=digest(" ".join(map(str, prompt.token_ids))))


def digest(text: str) -> str:
    """What stands for a text that was left out."""
    return f"sha256:{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()} ({len(text)} characters)"


def _redacted_message(message: Message) -> Message:
    return msgspec.structs.replace(
        message,
        content=None if message.content is None else digest(message.content),
        name=None if message.name is None else digest(message.name),
        tool_calls=tuple(map(_redacted_call, message.tool_calls)),
    )


def _redacted_value(value: Any) -> Any:
    """JSON with its texts left out, but for the names."""
    match value:
        case str():
            return digest(value)
        case list():
            return [_redacted_value(one) for one in value]
        case dict():
            return {name: _redacted_value(one) for name, one in value.items()}
        case _:
            return value


def _redacted_call(call: ToolCall) -> ToolCall:
    return msgspec.structs.replace(call, arguments=digest(call.arguments))


def _redacted_choice(choice: RecordedChoice) -> RecordedChoice:
    return msgspec.structs.replace(
        choice,
        text=digest(choice.text),
        token_ids=(),
        logprobs=(),
        stop_reason=None,
        tool_calls=tuple(map(_redacted_call, choice.tool_calls)),
    )


def _redaction(hook: str) -> Redaction:
    if hook == PROMPTS:
        return without_prompt
    if hook == ANSWERS:
        return without_answer
    if hook.startswith(_FUNCTION):
        return _by_function(hook.removeprefix(_FUNCTION))
    raise ConfigError(f"record.redact has {hook!r}; it must be {PROMPTS}, {ANSWERS} or {_FUNCTION}MODULE:NAME")


def _by_function(path: str) -> Redaction:
    module, _, name = path.partition(":")
    try:
        function: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"record.redact: {path} can't be imported: {error}") from None
    if not callable(function):
        raise ConfigError(f"record.redact: {path} is no function")

    def redacted(record: Record) -> Record | None:
        found = function(msgspec.to_builtins(record))
        return None if found is None else msgspec.convert(found, Record)

    return redacted
