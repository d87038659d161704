"""A record in the making: what is heard of a request while it is answered."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
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
# As many deltas are kept as they came, which is quick; then what a record has of them, which is small.
_MOST_DELTAS = 256


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

    def take(self, deltas: Sequence[Delta]) -> None:
        """More of it; the last of it has a finish reason."""
        self.texts.append("".join([one.text for one in deltas]))
        self.token_ids += [token for one in deltas for token in one.token_ids]
        self.hashes.append(b"".join([one.logits_hashes for one in deltas]))
        self.logprobs += [token.logprob for one in deltas for token in one.logprobs]
        for one in deltas:
            for call in one.tool_calls:
                _add_call(self.calls, call)
        if deltas[-1].finish_reason is not None:
            self.last = deltas[-1]


class Draft:
    """Told by the event loop's thread until the request's end, and made a record by the writer's after it."""

    def __init__(self, request: Request, arrived: Arrived) -> None:
        self.request = request
        self._arrived = arrived
        # The request's own clock is of this process, and means nothing to another.
        self._wall = time.time() - time.monotonic()
        self._started: Started | None = None
        self._deltas: list[Delta] = []
        self._choices: dict[int, _Choice] = {}
        self._first_token: float | None = None
        self._ended: float | None = None
        self._finished: Finished | None = None
        self._error: str | None = None

    @property
    def started(self) -> Started | None:
        """How the answer began; None as long as it hasn't."""
        return self._started

    @property
    def nbytes(self) -> int:
        """What it takes in memory, roughly."""
        body = len(self._arrived.body or b"")
        prompt = 0 if self._started is None else len(self._started.prompt_token_ids)
        answer = sum(len(choice.token_ids) for choice in self._choices.values()) + 4 * len(self._deltas)
        return _OVERHEAD + 2 * body + _TOKEN_BYTES * (prompt + answer)

    def start(self, started: Started) -> None:
        """The request was taken up."""
        self._started = started

    def add(self, delta: Delta) -> None:
        """More of a choice came."""
        if self._first_token is None:
            self._first_token = time.monotonic()
        self._deltas.append(delta)
        if len(self._deltas) == _MOST_DELTAS:
            self._compact()

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
        self._compact()
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

    def _compact(self) -> None:
        deltas, self._deltas = self._deltas, []
        by_index: dict[int, list[Delta]] = {}
        for one in deltas:
            by_index.setdefault(one.index, []).append(one)
        for index, of_one in by_index.items():
            self._choices.setdefault(index, _Choice()).take(of_one)

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
        beam_score=None if last is None else last.beam_score,
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
