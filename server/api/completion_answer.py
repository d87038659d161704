"""A plain completion's answer, whole or as a stream of chunks, in OpenAI's legacy shapes.

The choices of all prompts are in one list: choice ``c`` of prompt ``p`` has the index ``p * n + c``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pennyweight.server.types import BeamScore, Delta, FinishReason, Started, Usage

from . import sse
from .ending import ending_fields, ending_json
from .logprobs import LegacyLogprobs, join_legacy, prompt_logprobs
from .token_fields import NO_TOKEN_FIELDS, TokenFields
from .usage import total, usage_object

_encode = msgspec.json.Encoder().encode
# What a choice goes on with after its index.
_TEXT = b'"text":'


class CompletionShape(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer needs to know of its request. ``created`` is in Unix seconds; ``n`` choices for each prompt.

    ``tokens`` are what is told of the answer's tokens.
    Of one that ``is_recorded`` the last event of the stream says whether its records are written.
    """

    id: str
    created: int
    num_prompts: int = 1
    n: int = 1
    echo: bool = False
    has_logprobs: bool = False
    has_prompt_logprobs: bool = False
    include_usage: bool = False
    tokens: TokenFields = NO_TOKEN_FIELDS
    is_recorded: bool = False


@dataclass(frozen=True, slots=True)
class Echo:
    """A prompt as its choices begin with it. ``first_token`` is its first token's text."""

    started: Started
    first_token: str = ""


def _head(shape: CompletionShape, started: Started) -> dict[str, Any]:
    return {
        "id": shape.id,
        "object": "text_completion",
        "created": shape.created,
        "model": started.model,
        "system_fingerprint": started.fingerprint,
    }


class _Texts:
    """The logprobs of each choice, and the text that it begins with."""

    def __init__(self, shape: CompletionShape) -> None:
        self._shape = shape
        self._logprobs = [LegacyLogprobs() for _ in range(shape.n * shape.num_prompts)]

    def echo(self, index: int, echo: Echo) -> tuple[str, dict[str, Any] | None]:
        """The echoed prompt's text and logprobs."""
        if not self._shape.echo:
            return "", None
        text, logprobs = echo.started.prompt_text, echo.started.prompt_logprobs
        if not self._shape.has_logprobs or logprobs is None:
            return text, None
        return text, self._logprobs[index].prompt(logprobs, echo.first_token, text)

    def logprobs(self, index: int, delta: Delta) -> dict[str, Any] | None:
        """A delta's logprobs."""
        return self._logprobs[index].completion(delta.logprobs) if self._shape.has_logprobs else None


class CompletionStream:
    """Turns deltas into chunks. What does not change from chunk to chunk is encoded once."""

    def __init__(self, shape: CompletionShape, started: Started) -> None:
        self._shape = shape
        self._texts = _Texts(shape)
        self._head = _encode(_head(shape, started))[:-1]
        self._prefixes = [
            b'data: %b,"choices":[{"index":%d,%b' % (self._head, index, _TEXT)
            for index in range(shape.n * shape.num_prompts)
        ]
        self._end = b"}]%b}\n\n" % (b',"usage":null' if shape.include_usage else b"")
        self._plain_end = b',"logprobs":null,"finish_reason":null' + self._end
        # Choices that go on. With the end of the last one an event is kept back that is to be the stream's last.
        self._going = shape.n * shape.num_prompts
        self._keeps_last = shape.is_recorded and not shape.include_usage
        self._kept = b""

    def opening(self, place: int, echo: Echo) -> bytes:
        """The echoed prompt, and its token ids, once for each choice of prompt ``place``; empty where neither was asked for."""
        if not self._shape.echo and not self._shape.tokens.token_ids:
            return b""
        first = place * self._shape.n
        chunks = [self._chunk(index, *self._texts.echo(index, echo)) for index in range(first, first + self._shape.n)]
        if self._shape.tokens.token_ids:
            told = b'"prompt_token_ids":%b,' % _encode(echo.started.prompt_token_ids)
            starts = [len(self._prefixes[first + place]) - len(_TEXT) for place in range(self._shape.n)]
            chunks = [chunk[:start] + told + chunk[start:] for chunk, start in zip(chunks, starts, strict=True)]
        return b"".join(chunks)

    def chunk(self, place: int, delta: Delta) -> bytes:
        """The chunk of a delta; empty when it holds back what it has, its tokens too."""
        index = place * self._shape.n + delta.index
        chunk = self._delta(index, delta)
        tokens = self._shape.tokens
        if not tokens.are_wanted(delta):
            return chunk
        start = len(self._prefixes[index]) - len(_TEXT)
        return tokens.put_first(delta, chunk or self._chunk(index, "", None, delta), start)

    def _delta(self, index: int, delta: Delta) -> bytes:
        if delta.finish_reason is None and not delta.logprobs:
            return self._prefixes[index] + _encode(delta.text) + self._plain_end if delta.text else b""
        logprobs = self._texts.logprobs(index, delta) if delta.logprobs else None
        chunk = self._chunk(index, delta.text, logprobs, delta)
        if delta.finish_reason is None:
            return chunk
        self._going -= 1
        if self._keeps_last and not self._going:
            self._kept = chunk
            return b""
        return chunk

    def closing(self, usages: Sequence[Usage], is_recorded: bool | None = None) -> bytes:
        """What ends a whole answer: the usage where it was asked for, and [DONE]."""
        last = self._kept
        if self._shape.include_usage:
            last = b'data: %b,"choices":[],"usage":%b}\n\n' % (self._head, _encode(usage_object(total(usages))))
        if last and is_recorded is not None:
            last = sse.with_recorded(last, is_recorded)
        return last + sse.DONE

    def _chunk(self, index: int, text: str, logprobs: dict[str, Any] | None, delta: Delta | None = None) -> bytes:
        reason = None if delta is None else delta.finish_reason
        rest = b',"logprobs":%b,"finish_reason":%b' % (_encode(logprobs), _encode(reason))
        if delta is not None:
            rest += ending_json(delta.stop_reason, delta.beam_score)
        return self._prefixes[index] + _encode(text) + rest + self._end


@dataclass(slots=True)
class _Choice:
    texts: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    prompt: Started | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    token_ids: list[int] = field(default_factory=list)
    logits_hashes: list[bytes] = field(default_factory=list)
    beam_score: BeamScore | None = None


class CompletionCollector:
    """Gathers deltas into one answer."""

    def __init__(self, shape: CompletionShape, started: Started) -> None:
        self._shape = shape
        self._started = started
        self._texts = _Texts(shape)
        self._choices = [_Choice() for _ in range(shape.n * shape.num_prompts)]

    def start(self, place: int, echo: Echo) -> None:
        """Begin the choices of prompt ``place``."""
        for index in range(place * self._shape.n, (place + 1) * self._shape.n):
            text, logprobs = self._texts.echo(index, echo)
            self._choices[index].prompt = echo.started
            self._choices[index].texts.append(text)
            if logprobs is not None:
                self._choices[index].logprobs.append(logprobs)

    def add(self, place: int, delta: Delta) -> None:
        """Take a delta of prompt ``place`` in."""
        index = place * self._shape.n + delta.index
        choice = self._choices[index]
        choice.texts.append(delta.text)
        choice.token_ids.extend(delta.token_ids)
        choice.logits_hashes.append(delta.logits_hashes)
        logprobs = self._texts.logprobs(index, delta)
        if logprobs is not None:
            choice.logprobs.append(logprobs)
        if delta.finish_reason is not None:
            choice.finish_reason, choice.stop_reason = delta.finish_reason, delta.stop_reason
            choice.beam_score = delta.beam_score

    def body(self, usages: Sequence[Usage]) -> dict[str, Any]:
        """The answer's JSON object."""
        answer = _head(self._shape, self._started)
        answer["choices"] = [self._choice(index, choice) for index, choice in enumerate(self._choices)]
        answer["usage"] = usage_object(total(usages))
        return answer

    def _choice(self, index: int, choice: _Choice) -> dict[str, Any]:
        found: dict[str, Any] = {
            "index": index,
            "text": "".join(choice.texts),
            "logprobs": join_legacy(choice.logprobs) if self._shape.has_logprobs else None,
            "finish_reason": choice.finish_reason,
            **ending_fields(choice.stop_reason, choice.beam_score),
        }
        if self._shape.has_prompt_logprobs and choice.prompt is not None and choice.prompt.prompt_logprobs is not None:
            found["prompt_logprobs"] = prompt_logprobs(choice.prompt.prompt_logprobs)
        if self._shape.tokens.token_ids and choice.prompt is not None:
            found["prompt_token_ids"] = choice.prompt.prompt_token_ids
        return found | self._shape.tokens.of(choice.token_ids, b"".join(choice.logits_hashes))
