"""The prompt that a case was exported without, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from pennyweight.server.errors import ConfigError
from pennyweight.server.types import ChatPrompt, Message, Prompt, TextPrompt, TokensPrompt, ToolCall


def read_prompt(path: Path, like: Prompt) -> Prompt:
    """The prompt in a file: a request's body, a list of messages or of token ids, or the plain text of the only message or of a completion.

    ``like`` is the prompt without its texts, whose other fields are taken. Raises ConfigError.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--prompt {path} can't be read: {error}") from None
    try:
        found: Any = msgspec.json.decode(text)
    except msgspec.DecodeError:
        found = text
    if isinstance(found, dict) and ("messages" in found or "prompt" in found):
        given: dict[str, Any] = found
    elif isinstance(found, list) and found and isinstance(found[0], dict):
        given = {"messages": found}
    elif isinstance(found, list):
        given = {"prompt": found}
    else:
        given = {"prompt": text}
    try:
        return _prompt(given, like)
    except (msgspec.ValidationError, KeyError, TypeError) as error:
        raise ConfigError(f"--prompt {path} has no prompt of the recorded form: {error!r}") from None


def _prompt(given: dict[str, Any], like: Prompt) -> Prompt:
    if isinstance(like, ChatPrompt):
        if "messages" not in given and len(like.messages) == 1:
            message = msgspec.structs.replace(like.messages[0], content=msgspec.convert(given["prompt"], str))
            return msgspec.structs.replace(like, messages=(message,))
        return msgspec.structs.replace(
            like,
            messages=tuple(map(_message, given["messages"])),
            template_kwargs=given.get("chat_template_kwargs") or {},
        )
    prompt = given["prompt"]
    if isinstance(prompt, str):
        # Token ids that were left out look like a text.
        with_special = like.add_special_tokens if isinstance(like, TextPrompt) else True
        return TextPrompt(text=prompt, add_special_tokens=with_special)
    return TokensPrompt(token_ids=msgspec.convert(prompt, tuple[int, ...]))


def _message(wire: dict[str, Any]) -> Message:
    content = wire.get("content")
    if isinstance(content, list):
        content = "\n".join(part["text"] for part in content)  # as the API joins them
    calls = [{"id": call["id"], **call["function"]} for call in wire.get("tool_calls") or ()]
    return msgspec.convert(
        {
            "role": wire["role"],
            "content": content,
            "name": wire.get("name"),
            "tool_calls": msgspec.convert(calls, tuple[ToolCall, ...]),
            "tool_call_id": wire.get("tool_call_id"),
        },
        Message,
    )
