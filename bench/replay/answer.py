"""An answer as a server gives it, as far as a replay looks at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

# Of each token, in a record and in hexadecimal digits on the wire.
HASH_BYTES = 8


class AnsweredChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One choice. ``token_ids`` and ``hashes`` (8 bytes each) are empty where the server doesn't tell; ``text`` is None where calls of tools
    were taken out of it."""

    index: int
    token_ids: tuple[int, ...] = ()
    hashes: bytes = b""
    text: str | None = None
    finish_reason: str | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. ``error`` is the code of what went wrong, or its kind where it has none, and ``param`` what it is about.

    ``route``, ``cache``, ``cache_key`` and ``determinism`` are what the headers say.
    """

    status: int
    error: str | None = None
    message: str = ""
    param: str | None = None
    model: str = ""
    fingerprint: str = ""
    prompt_token_ids: tuple[int, ...] = ()
    prompt_logprobs: Sequence[Mapping[str, Ranked] | None] | None = None
    choices: tuple[AnsweredChoice, ...] = ()
    route: str | None = None
    cache: str | None = None
    cache_key: str | None = None
    determinism: str | None = None


class Ranked(msgspec.Struct, frozen=True):
    """A token that could stand at a place of the prompt. ``rank`` is 1 for the most probable, None where it isn't known."""

    logprob: float
    rank: int | None = None


class _Message(msgspec.Struct, frozen=True):
    content: str | None = None
    tool_calls: list[Any] | None = None


class _Choice(msgspec.Struct, frozen=True):
    index: int = 0
    text: str | None = None
    message: _Message | None = None
    finish_reason: str | None = None
    token_ids: tuple[int, ...] | None = None
    logits_hashes: list[str] | None = None
    prompt_token_ids: tuple[int, ...] | None = None
    prompt_logprobs: list[dict[str, Ranked] | None] | None = None


class _Body(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...]
    model: str = ""
    system_fingerprint: str | None = None
    prompt_token_ids: tuple[int, ...] | None = None
    prompt_logprobs: list[dict[str, Ranked] | None] | None = None


class _Error(msgspec.Struct, frozen=True):
    message: str = ""
    type: str = ""
    param: str | None = None
    code: str | int | None = None


class _ErrorBody(msgspec.Struct, frozen=True):
    error: _Error


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_error = msgspec.json.Decoder(_ErrorBody).decode


def read_answer(status: int, headers: Mapping[str, str], data: bytes) -> Answer:
    """The answer to a completion or a chat that was not streamed. One that can't be read is an error of the code ``unreadable``."""
    if status != 200:
        return _read_error(status, data)
    try:
        body = _decode_body(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Answer(status=status, error="unreadable", message=f"the answer can't be read: {error}")
    first = body.choices[0] if body.choices else _Choice()
    return Answer(
        status=status,
        model=body.model,
        fingerprint=body.system_fingerprint or "",
        prompt_token_ids=body.prompt_token_ids or first.prompt_token_ids or (),
        prompt_logprobs=body.prompt_logprobs or first.prompt_logprobs,
        choices=tuple(map(_choice, body.choices)),
        route=headers.get("x-pennyweight-route"),
        cache=headers.get("x-pennyweight-cache"),
        cache_key=headers.get("x-pennyweight-cache-key"),
        determinism=headers.get("x-pennyweight-deterministic"),
    )


def _choice(wire: _Choice) -> AnsweredChoice:
    text = wire.text
    if wire.message is not None:
        text = None if wire.message.tool_calls else wire.message.content
    return AnsweredChoice(
        index=wire.index,
        token_ids=wire.token_ids or (),
        hashes=bytes.fromhex("".join(wire.logits_hashes or ())),
        text=text,
        # What the API makes of the engine's word where there are calls.
        finish_reason="stop" if wire.finish_reason == "tool_calls" else wire.finish_reason,
    )


def _read_error(status: int, data: bytes) -> Answer:
    try:
        found = _decode_error(data).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Answer(status=status, error=f"http_{status}", message=data[:500].decode(errors="replace"))
    code = found.code if isinstance(found.code, str) else None
    return Answer(status=status, error=code or found.type or f"http_{status}", message=found.message, param=found.param)
