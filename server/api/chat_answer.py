"""A chat completion's answer, whole or as a stream of chunks, in OpenAI's shapes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from pennyweight.server.types import Delta, FinishReason, Started, TokenLogprob, Usage

from . import sse
from .logprobs import chat_logprobs, prompt_logprobs

_encode = msgspec.json.Encoder().encode


def usage_object(usage: Usage) -> dict[str, Any]:
    """OpenAI's usage object."""
    return {
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatShape:
    """What an answer needs to know of its request."""

    id: str
    created: int
    model: str
    n: int = 1
    has_logprobs: bool = False
    include_usage: bool = False


def _head(shape: ChatShape, started: Started, kind: str) -> dict[str, Any]:
    return {
        "id": shape.id,
        "object": kind,
        "created": shape.created,
        "model": shape.model,
        "service_tier": "default",
        "system_fingerprint": started.fingerprint,
    }


class ChatStream:
    """Turns deltas into chunks. What does not change from chunk to chunk is encoded once."""

    def __init__(self, shape: ChatShape, started: Started) -> None:
        self._shape = shape
        usage = b',"usage":null' if shape.include_usage else b""
        self._head = _encode(_head(shape, started, "chat.completion.chunk"))[:-1]
        self._prefixes = [b'data: %b,"choices":[{"index":%d,"delta":' % (self._head, index) for index in range(shape.n)]
        self._content_prefixes = [prefix + b'{"content":' for prefix in self._prefixes]
        self._content_suffix = b'},"logprobs":null,"finish_reason":null}]%b}\n\n' % usage
        self._end = b"}]%b}\n\n" % usage

    def opening(self) -> bytes:
        """The role, once for each choice."""
        delta = b'{"role":"assistant","content":"","refusal":null'
        return b"".join(prefix + delta + self._content_suffix for prefix in self._prefixes)

    def chunk(self, delta: Delta) -> bytes:
        """The chunks of a delta; empty when it holds back what it has."""
        if delta.logprobs:
            logprobs = _encode(chat_logprobs(delta.logprobs))
            content = b'%b},"logprobs":%b,"finish_reason":null' % (_encode(delta.text), logprobs)
            chunk = self._content_prefixes[delta.index] + content + self._end
        elif delta.text:
            chunk = self._content_prefixes[delta.index] + _encode(delta.text) + self._content_suffix
        else:
            chunk = b""
        if delta.finish_reason is None:
            return chunk
        return chunk + self._last(delta, delta.finish_reason)

    def closing(self, usage: Usage) -> bytes:
        """What ends a whole answer: the usage where it was asked for, and [DONE]."""
        if not self._shape.include_usage:
            return sse.DONE
        return b'data: %b,"choices":[],"usage":%b}\n\n' % (self._head, _encode(usage_object(usage))) + sse.DONE

    def _last(self, delta: Delta, reason: FinishReason) -> bytes:
        stop_reason = b"" if delta.stop_reason is None else b',"stop_reason":' + _encode(delta.stop_reason)
        ending = b'{},"logprobs":null,"finish_reason":%b%b' % (_encode(reason), stop_reason)
        return self._prefixes[delta.index] + ending + self._end


@dataclass(slots=True)
class _Choice:
    texts: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None


class ChatCollector:
    """Gathers deltas into one answer."""

    def __init__(self, shape: ChatShape, started: Started) -> None:
        self._shape = shape
        self._started = started
        self._choices = [_Choice() for _ in range(shape.n)]

    def add(self, delta: Delta) -> None:
        """Take a delta in."""
        choice = self._choices[delta.index]
        choice.texts.append(delta.text)
        choice.logprobs.extend(delta.logprobs)
        if delta.finish_reason is not None:
            choice.finish_reason, choice.stop_reason = delta.finish_reason, delta.stop_reason

    def body(self, usage: Usage) -> bytes:
        """The answer's JSON."""
        answer = _head(self._shape, self._started, "chat.completion")
        answer["choices"] = [self._choice(index, choice) for index, choice in enumerate(self._choices)]
        answer["usage"] = usage_object(usage)
        if self._started.prompt_logprobs is not None:
            answer["prompt_logprobs"] = prompt_logprobs(self._started.prompt_logprobs)
        return _encode(answer)

    def _choice(self, index: int, choice: _Choice) -> dict[str, Any]:
        found: dict[str, Any] = {
            "index": index,
            "message": {"role": "assistant", "content": "".join(choice.texts), "refusal": None, "annotations": []},
            "logprobs": chat_logprobs(choice.logprobs) if self._shape.has_logprobs else None,
            "finish_reason": choice.finish_reason,
        }
        if choice.stop_reason is not None:
            found["stop_reason"] = choice.stop_reason
        return found
