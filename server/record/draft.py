"""A record in the making: what is heard of a request while it is answered."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from pennyweight.server.errors import PennyweightError
from pennyweight.server.types import Delta, Finished, Request, Started, ToolCall, ToolCallDelta

from .record import Record, RecordedChoice, RecordedTimes

CANCELLED = "cancelled"
INTERNAL_ERROR = "internal_error"
# What JSON has no number for: a probability of zero, as the API writes it.
LEAST_LOGPROB = -9999.0
# What a record takes in memory beside its texts and tokens, and for each token of prompt and answer, roughly.
_OVERHEAD = 4096
_TOKEN_BYTES = 64


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an HTTP request. ``headers`` are those that can change the answer, by lower-case names."""

    endpoint: str
    body: bytes | None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


class _Choice:
    """One choice, as far as it has come."""

    __slots__ = ("calls", "hashes", "last", "logprobs", "texts", "token_ids")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.token_ids: list[int] = []
        self.hashes: list[bytes] = []
        self.logprobs: list[float] = []
        self.calls: dict[int, ToolCall] = {}
        self.last: Delta | None = None


class Draft:
    """Told by the event loop's thread until the request's end, and made a record by the writer's after it."""

    def __init__(self, request: Request, arrived: Arrived) -> None:
        self.request = request
        self._arrived = arrived
        # The request's own clock is of this process, and means nothing to another.
        self._wall = time.time() - time.monotonic()
        self._started: Started | None = None
        self._choices: dict[int, _Choice] = {}
        self._first_token: float | None = None
        self._ended: float | None = None
        self._finished: Finished | None = None
        self._error: str | None = None
        self._num_tokens = 0

    @property
    def started(self) -> Started | None:
        """How the answer began; None as long as it hasn't."""
        return self._started

    @property
    def nbytes(self) -> int:
        """What it takes in memory, roughly."""
        body = len(self._arrived.body or b"")
        prompt = 0 if self._started is None else len(self._started.prompt_token_ids)
        return _OVERHEAD + 2 * body + _TOKEN_BYTES * (prompt + self._num_tokens)

    def start(self, started: Started) -> None:
        """The request was taken up."""
        self._started = started

    def add(self, delta: Delta) -> None:
        """More of a choice came."""
        choice = self._choices.get(delta.index)
        if choice is None:
            choice = self._choices[delta.index] = _Choice()
            if self._first_token is None:
                self._first_token = time.monotonic()
        if delta.text:
            choice.texts.append(delta.text)
        if delta.token_ids:
            choice.token_ids.extend(delta.token_ids)
            self._num_tokens += len(delta.token_ids)
        if delta.logits_hashes:
            choice.hashes.append(delta.logits_hashes)
        if delta.logprobs:
            choice.logprobs.extend([one.logprob for one in delta.logprobs])
        for call in delta.tool_calls:
            _add_call(choice.calls, call)
        if delta.finish_reason is not None:
            choice.last = delta

    def finish(self, finished: Finished) -> None:
        """The answer is whole."""
        self._ended, self._finished = time.monotonic(), finished

    def fail(self, error: BaseException) -> None:
        """It will not be: by an error, or because whoever asked has left."""
        self._ended = time.monotonic()
        if isinstance(error, PennyweightError):
            self._error = error.code or error.type
        else:
            self._error = INTERNAL_ERROR if isinstance(error, Exception) else CANCELLED

    def record(self) -> Record:
        """The record of what was heard."""
        request, arrived, started = self.request, self._arrived, self._started
        found = Record(
            id=request.id,
            arrival=round(self._wall + request.arrival, 6),
            tenant=request.tenant,
            endpoint=arrived.endpoint,
            received=None if arrived.body is None else arrived.body.decode(errors="replace"),
            headers=arrived.headers,
            request=self._timeless(request),
            seed=request.sampling.seed,
            choices=tuple(_recorded(index, self._choices[index]) for index in sorted(self._choices)),
            usage=None if self._finished is None else self._finished.usage,
            times=RecordedTimes(
                queued=None if started is None or started.queue_seconds is None else round(started.queue_seconds, 6),
                first_token=self._since(self._first_token),
                finished=self._since(self._ended),
            ),
            error=self._error,
        )
        return found if started is None else _with_start(found, started)

    def _timeless(self, request: Request) -> Request:
        deadline = None if request.deadline is None else round(request.deadline - request.arrival, 6)
        routing = request.routing
        if routing is not None:
            # All of the HTTP request's, the key among them.
            routing = msgspec.structs.replace(routing, headers=self._arrived.headers)
        return msgspec.structs.replace(request, arrival=0.0, deadline=deadline, routing=routing, is_recorded=False)

    def _since(self, moment: float | None) -> float | None:
        return None if moment is None else round(moment - self.request.arrival, 6)


def _with_start(record: Record, started: Started) -> Record:
    inputs: dict[str, Any] = dict(started.inputs)
    if started.cache_age is not None:
        inputs["cache"] = {"age": round(started.cache_age, 3)}
    return msgspec.structs.replace(
        record,
        prompt_token_ids=started.prompt_token_ids,
        seed=record.seed if started.seed is None else started.seed,
        model=started.model if started.route is None else started.route.model,
        manifest=started.fingerprint,
        determinism=None if started.determinism is None else started.determinism.value,
        route=started.route,
        cache=started.cache,
        cache_key=started.cache_key,
        inputs=inputs,
    )


def _recorded(index: int, choice: _Choice) -> RecordedChoice:
    last = choice.last
    return RecordedChoice(
        index=index,
        token_ids=tuple(choice.token_ids),
        text="".join(choice.texts),
        finish_reason=None if last is None or last.finish_reason is None else last.finish_reason.value,
        stop_reason=None if last is None else last.stop_reason,
        logits_hashes=b"".join(choice.hashes),
        logprobs=tuple(one if math.isfinite(one) else LEAST_LOGPROB for one in choice.logprobs),
        tool_calls=tuple(choice.calls[place] for place in sorted(choice.calls)),
    )


def _add_call(calls: dict[int, ToolCall], delta: ToolCallDelta) -> None:
    begun = calls.get(delta.index)
    if begun is None:
        calls[delta.index] = ToolCall(id=delta.id or "", name=delta.name or "", arguments=delta.arguments)
    else:
        calls[delta.index] = msgspec.structs.replace(begun, arguments=begun.arguments + delta.arguments)
