"""The events of an upstream's stream, chat's and plain completions' alike, as far as they are read here."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from .failure import broken

DONE = b"[DONE]"

_T = TypeVar("_T")


class CalledFunction(msgspec.Struct):
    """A piece of a call."""

    name: str | None = None
    arguments: str | None = None


class CallPiece(msgspec.Struct):
    """More of a tool call. Not every server numbers them, or gives them ids."""

    index: int | None = None
    id: str | None = None
    function: CalledFunction | None = None


class MessageDelta(msgspec.Struct):
    """More of a chat message. The two names of reasoning are only looked at for signs of life."""

    content: str | None = None
    refusal: str | None = None
    reasoning: Any = None
    reasoning_content: Any = None
    tool_calls: list[CallPiece] | None = None


class ChatAlternative(msgspec.Struct):
    """A token of chat's logprobs."""

    token: str
    logprob: float | None = None
    bytes: list[int] | None = None


class ChatToken(ChatAlternative):
    """A chosen token with its alternatives."""

    top_logprobs: list[ChatAlternative] | None = None


class Logprobs(msgspec.Struct):
    """Chat's ``content``, or the three lists of plain completions."""

    content: list[ChatToken] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


class Choice(msgspec.Struct):
    """More of one choice: ``delta`` in a chat, ``text`` else."""

    index: int = 0
    delta: MessageDelta | None = None
    text: str | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class PromptDetails(msgspec.Struct):
    """What the prompt's tokens were."""

    cached_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """The tokens that the request took."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None


class Chunk(msgspec.Struct):
    """One event. With ``error``, or ``object`` "error", it is none of an answer."""

    choices: list[Choice] | None = None
    usage: WireUsage | None = None
    system_fingerprint: str | None = None
    error: Any = None
    object: str | None = None

    @property
    def is_error(self) -> bool:
        """Whether the event tells that the answer has failed."""
        return self.error is not None or self.object == "error"


_chunk_decoder = msgspec.json.Decoder(Chunk)
_any_decoder = msgspec.json.Decoder()


def decode_chunk(data: bytes) -> Chunk:
    """Raises Failure for what is no chunk."""
    return _decode(data, _chunk_decoder)


def decode_error(data: bytes) -> object:
    """All of an event that tells of an error, whose form differs. Raises Failure for what is no JSON."""
    return _decode(data, _any_decoder)


def _decode(data: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise broken("The upstream sent an event that is no chunk of an answer.") from None
