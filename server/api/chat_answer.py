"""A chat completion's answer, whole or as a stream of chunks, in OpenAI's shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pennyweight.server.types import BeamScore, Delta, FinishReason, Started, TokenLogprob, Usage

from . import sse
from .ending import ending_fields, ending_json
from .logprobs import chat_logprobs, prompt_logprobs
from .token_fields import NO_TOKEN_FIELDS, TokenFields
from .tools.base import ArgumentsDelta, CallStarted, ContentDelta, ToolEvent, ToolParser
from .usage import usage_object

_encode = msgspec.json.Encoder().encode


class ChatShape(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer needs to know of its request. ``created`` is in Unix seconds.

    ``may_call`` tells whether there may be tool calls; ``new_parser`` makes the parser that finds them in one choice's
    text, None where there are none to be found. ``tokens`` are what is told of the answer's tokens.
    Of one that ``is_recorded`` the last event of the stream says whether its record is written.
    """

    id: str
    created: int
    n: int = 1
    has_logprobs: bool = False
    include_usage: bool = False
    is_recorded: bool = False
    may_call: bool = False
    new_parser: Callable[[], ToolParser] | None = None
    tokens: TokenFields = NO_TOKEN_FIELDS

    def parsers(self) -> list[ToolParser]:
        """A parser for each choice; none where no calls are to be found in the text."""
        return [] if self.new_parser is None else [self.new_parser() for _ in range(self.n)]


def _head(shape: ChatShape, started: Started, kind: str) -> dict[str, Any]:
    return {
        "id": shape.id,
        "object": kind,
        "created": shape.created,
        "model": started.model,
        "service_tier": "default",
        "system_fingerprint": started.fingerprint,
    }


def _read_calls(parser: ToolParser, delta: Delta) -> list[ToolEvent]:
    events = parser.push(delta.text) if delta.text else []
    return events if delta.finish_reason is None else [*events, *parser.finish()]


def _given_calls(delta: Delta) -> list[ToolEvent]:
    """The events of a delta whose calls the engine has read."""
    events: list[ToolEvent] = [ContentDelta(delta.text)] if delta.text else []
    for call in delta.tool_calls:
        if call.id is not None and call.name is not None:
            events.append(CallStarted(call.index, call.id, call.name))
        if call.arguments:
            events.append(ArgumentsDelta(call.index, call.arguments))
    return events


def _finish_reason(reason: FinishReason, *, has_calls: bool) -> str:
    # An answer that was cut off says so, also in the middle of a call.
    return "tool_calls" if has_calls and reason is FinishReason.STOP else reason.value


class ChatStream:
    """Turns deltas into chunks. What does not change from chunk to chunk is encoded once."""

    def __init__(self, shape: ChatShape, started: Started) -> None:
        self._include_usage = shape.include_usage
        usage = b',"usage":null' if shape.include_usage else b""
        self._head = _encode(_head(shape, started, "chat.completion.chunk"))[:-1]
        self._prefixes = [b'data: %b,"choices":[{"index":%d,"delta":' % (self._head, index) for index in range(shape.n)]
        self._tokens = shape.tokens
        self._prompt_token_ids = started.prompt_token_ids
        self._content_prefixes = [prefix + b'{"content":' for prefix in self._prefixes]
        self._suffix = b',"logprobs":null,"finish_reason":null}]%b}\n\n' % usage
        self._content_suffix = b"}" + self._suffix
        self._end = b"}]%b}\n\n" % usage
        self._parsers = shape.parsers()
        self._may_call = shape.may_call
        self._has_calls = [False] * shape.n
        # Choices that go on. With the end of the last one an event is kept back that is to be the stream's last.
        self._going = shape.n
        self._keeps_last = shape.is_recorded and not shape.include_usage
        self._kept = b""

    def opening(self) -> bytes:
        """The role, once for each choice. Where there may be calls only, there is no content yet."""
        content = b"null" if self._may_call else b'""'
        delta = b'{"role":"assistant","content":%b,"refusal":null}' % content
        first, *others = [prefix + delta + self._suffix for prefix in self._prefixes]
        if self._tokens.token_ids:
            told = b',"prompt_token_ids":' + _encode(self._prompt_token_ids)
            first = b"data: " + self._head + told + first[len(b"data: " + self._head) :]
        return b"".join((first, *others))

    def chunk(self, delta: Delta) -> bytes:
        """The chunks of a delta; empty when it holds back what it has, its tokens too."""
        chunk = self._chunk(delta)
        if not self._tokens.are_wanted(delta):
            return chunk
        prefix = self._prefixes[delta.index]
        return self._tokens.put_first(delta, chunk or prefix + b"{}" + self._suffix, len(prefix) - len(b'"delta":'))

    def _chunk(self, delta: Delta) -> bytes:
        if self._parsers:
            chunk = self._with_events(delta, _read_calls(self._parsers[delta.index], delta))
        elif delta.tool_calls:
            chunk = self._with_events(delta, _given_calls(delta))
        elif delta.logprobs:
            chunk = self._with_logprobs(delta, b'{"content":%b}' % _encode(delta.text))
        elif delta.text:
            chunk = self._content_prefixes[delta.index] + _encode(delta.text) + self._content_suffix
        else:
            chunk = b""
        if delta.finish_reason is None:
            return chunk
        last = self._last(delta, delta.finish_reason)
        self._going -= 1
        if self._keeps_last and not self._going:
            self._kept = last
            return chunk
        return chunk + last

    def closing(self, usage: Usage, is_recorded: bool | None = None) -> bytes:
        """What ends a whole answer: the usage where it was asked for, and [DONE]."""
        last = self._kept
        if self._include_usage:
            last = b'data: %b,"choices":[],"usage":%b}\n\n' % (self._head, _encode(usage_object(usage)))
        if last and is_recorded is not None:
            last = sse.with_recorded(last, is_recorded)
        return last + sse.DONE

    def _with_events(self, delta: Delta, events: Sequence[ToolEvent]) -> bytes:
        """One chunk for each event. The logprobs of all the delta's tokens are the first one's, or in one of their own."""
        if any(isinstance(event, CallStarted) for event in events):
            self._has_calls[delta.index] = True
        parts = [_event_delta(event) for event in events]
        head = b""
        if delta.logprobs:
            head = self._with_logprobs(delta, parts.pop(0) if parts else b"{}")
        prefix = self._prefixes[delta.index]
        return head + b"".join(prefix + part + self._suffix for part in parts)

    def _with_logprobs(self, delta: Delta, wire_delta: bytes) -> bytes:
        logprobs = _encode(chat_logprobs(delta.logprobs))
        rest = b'%b,"logprobs":%b,"finish_reason":null' % (wire_delta, logprobs)
        return self._prefixes[delta.index] + rest + self._end

    def _last(self, delta: Delta, reason: FinishReason) -> bytes:
        told = _encode(_finish_reason(reason, has_calls=self._has_calls[delta.index]))
        more = ending_json(delta.stop_reason, delta.beam_score)
        ending = b'{},"logprobs":null,"finish_reason":%b%b' % (told, more)
        return self._prefixes[delta.index] + ending + self._end


def _event_delta(event: ToolEvent) -> bytes:
    match event:
        case ContentDelta(text):
            return b'{"content":%b}' % _encode(text)
        case CallStarted(index, id, name):
            function = {"name": name, "arguments": ""}
            return _encode({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]})
        case ArgumentsDelta(index, text):
            return b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (index, _encode(text))


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)

    def wire(self) -> dict[str, Any]:
        function = {"name": self.name, "arguments": "".join(self.arguments)}
        return {"id": self.id, "type": "function", "function": function}


@dataclass(slots=True)
class _Choice:
    texts: list[str] = field(default_factory=list)
    calls: list[_Call] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    token_ids: list[int] = field(default_factory=list)
    logits_hashes: list[bytes] = field(default_factory=list)
    beam_score: BeamScore | None = None

    def take(self, event: ToolEvent) -> None:
        match event:
            case ContentDelta(text):
                self.texts.append(text)
            case CallStarted(_, id, name):
                self.calls.append(_Call(id, name))
            case ArgumentsDelta(index, text):
                self.calls[index].arguments.append(text)


class ChatCollector:
    """Gathers deltas into one answer."""

    def __init__(self, shape: ChatShape, started: Started) -> None:
        self._shape = shape
        self._started = started
        self._parsers = shape.parsers()
        self._choices = [_Choice() for _ in range(shape.n)]

    def add(self, delta: Delta) -> None:
        """Take a delta in."""
        choice = self._choices[delta.index]
        if self._parsers:
            for event in _read_calls(self._parsers[delta.index], delta):
                choice.take(event)
        elif delta.tool_calls:
            for event in _given_calls(delta):
                choice.take(event)
        else:
            choice.texts.append(delta.text)
        choice.logprobs.extend(delta.logprobs)
        choice.token_ids.extend(delta.token_ids)
        choice.logits_hashes.append(delta.logits_hashes)
        if delta.finish_reason is not None:
            choice.finish_reason, choice.stop_reason = delta.finish_reason, delta.stop_reason
            choice.beam_score = delta.beam_score

    def body(self, usage: Usage) -> dict[str, Any]:
        """The answer's JSON object."""
        answer = _head(self._shape, self._started, "chat.completion")
        answer["choices"] = [self._choice(index, choice) for index, choice in enumerate(self._choices)]
        answer["usage"] = usage_object(usage)
        if self._shape.tokens.token_ids:
            answer["prompt_token_ids"] = self._started.prompt_token_ids
        if self._started.prompt_logprobs is not None:
            answer["prompt_logprobs"] = prompt_logprobs(self._started.prompt_logprobs)
        return answer

    def _choice(self, index: int, choice: _Choice) -> dict[str, Any]:
        assert choice.finish_reason is not None, "an engine ends every choice"
        content = "".join(choice.texts)
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
        if choice.calls:
            message["content"] = content or None
            message["tool_calls"] = [call.wire() for call in choice.calls]
        found = {
            "index": index,
            "message": message,
            "logprobs": chat_logprobs(choice.logprobs) if self._shape.has_logprobs else None,
            "finish_reason": _finish_reason(choice.finish_reason, has_calls=bool(choice.calls)),
            **ending_fields(choice.stop_reason, choice.beam_score),
        }
        return found | self._shape.tokens.of(choice.token_ids, b"".join(choice.logits_hashes))
