"""Watches one call at its engines, for the metrics and for the call's log line."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from pennyweight.server.cache.result import GIVEN_AGAIN, KEPT, CacheResult, result_of_all
from pennyweight.server.errors import PennyweightError
from pennyweight.server.types import (
    Delta,
    Determinism,
    Embeddings,
    EmbedRequest,
    Finished,
    FinishReason,
    Request,
    Started,
    Usage,
)

from .metrics import ModelMetrics
from .request_record import RequestRecord
from .route_header import route_header

# What an exception that is nobody's error type is called in logs and metrics.
INTERNAL_ERROR = "internal_error"


class CallObserver:
    """Implements the API's Observer: fills in ``record`` and counts in ``metrics``.

    ``metrics`` are by each name that a client may use. ``on_started`` is called each time an engine takes up a request of
    the call. ``arrival`` is in seconds of ``time.monotonic()``. ``has_cache`` says whether there is a response cache to tell of.
    """

    def __init__(
        self,
        record: RequestRecord,
        metrics: Mapping[str, ModelMetrics],
        *,
        arrival: float,
        on_started: Callable[[], None],
        has_cache: bool = False,
    ) -> None:
        self._record = record
        self._metrics = metrics
        self._bound: ModelMetrics
        self._arrival = arrival
        self._on_started = on_started
        self._has_cache = has_cache
        # Requests for which nothing is generated.
        self._given: set[str] = set()
        # The call's request, and what it took, where it was only one.
        self.request: Request | None = None
        self.usage: Usage | None = None
        # When each choice last got a token.
        self._last: dict[tuple[str, int], float] = {}
        self._begun: set[str] = set()
        # What has been counted of the tokens of each request that an upstream answers.
        self._counted: dict[str, int] = {}

    def submitted(self, request: Request | EmbedRequest) -> None:
        self.request = request if isinstance(request, Request) and self._record.model is None else None
        self._record.model = request.model
        # Kept to the end: by then the name may mean another model.
        self._bound = self._metrics[request.model]

    def started(self, request: Request, started: Started) -> None:
        self._on_started()
        if (route := started.route) is not None:
            self._bound = self._metrics[route.model]
            self._record.model, self._record.route = route.model, route_header(route)
        self._note_cache(request, started)
        self._note_determinism(started)
        if started.queue_seconds is not None:
            self._bound.queue_time.observe(started.queue_seconds)

    def delta(self, request: Request, delta: Delta) -> None:
        metrics = self._bound
        if request.id in self._given:
            self._given_again(request, delta)
            return
        tokens = len(delta.token_ids)
        if not tokens and (delta.text or delta.tool_calls):
            # An upstream's tokens can't be counted before it tells their number; most send one at a time.
            tokens = 1
            self._counted[request.id] = self._counted.get(request.id, 0) + 1
        if tokens:
            now = time.monotonic()
            metrics.generation_tokens.inc(tokens)
            choice = (request.id, delta.index)
            last = self._last.get(choice)
            self._last[choice] = now
            if last is not None:
                metrics.inter_token_latency.observe((now - last) / tokens, tokens)
            elif request.id not in self._begun:
                self._first_token(request, now)
        if delta.finish_reason is not None:
            self._choice_ended(delta.finish_reason)

    def finished(self, request: Request, finished: Finished) -> None:
        metrics, usage, record = self._bound, finished.usage, self._record
        self.usage = usage
        if finished.is_recorded is not None:
            record.recorded = "true" if finished.is_recorded and record.recorded != "false" else "false"
        if request.id in self._given:
            metrics.given_prompt_tokens.inc(usage.prompt_tokens)
            metrics.given_generation_tokens.inc(usage.completion_tokens)
        else:
            metrics.prompt_tokens.inc(usage.prompt_tokens)
            if (counted := self._counted.pop(request.id, None)) is not None:
                metrics.generation_tokens.inc(max(usage.completion_tokens - counted, 0))
            metrics.request_prompt_tokens.observe(usage.prompt_tokens)
            metrics.request_generation_tokens.observe(usage.completion_tokens)
        metrics.e2e_latency.observe(time.monotonic() - self._arrival)
        record.prompt_tokens = (record.prompt_tokens or 0) + usage.prompt_tokens
        record.completion_tokens = (record.completion_tokens or 0) + usage.completion_tokens
        record.cached_tokens = (record.cached_tokens or 0) + usage.cached_tokens

    def _note_determinism(self, started: Started) -> None:
        mode, known = started.determinism, self._record.determinism
        if mode is not None and (known is None or Determinism(known).covers(mode)):
            self._record.determinism = mode.value

    def _note_cache(self, request: Request, started: Started) -> None:
        """What the response cache did, of several requests what took the most; and how old the oldest is, if all are given again."""
        if not self._has_cache:
            return
        record, result = self._record, started.cache or CacheResult.BYPASS.value
        if result in GIVEN_AGAIN:
            self._given.add(request.id)
        age, key = started.cache_age, started.cache_key
        if record.cache is not None:
            result = result_of_all((record.cache, result))
            age = max(age or 0.0, record.cache_age or 0.0)
        record.cache = result
        record.cache_age = age if result in KEPT else None
        if key is not None and record.cache_key is None:
            record.cache_key = key.hex()

    def _given_again(self, request: Request, delta: Delta) -> None:
        """The same of an answer for which no token is made: they are counted with its end."""
        if request.id not in self._begun and (delta.text or delta.token_ids or delta.tool_calls):
            self._first_token(request, time.monotonic())
        if delta.finish_reason is not None:
            self._choice_ended(delta.finish_reason)

    def _first_token(self, request: Request, now: float) -> None:
        self._begun.add(request.id)
        ttft = now - self._arrival
        self._bound.time_to_first_token.observe(ttft)
        if self._record.ttft is None:
            self._record.ttft = ttft

    def _choice_ended(self, reason: FinishReason) -> None:
        self._bound.success[reason].inc()
        self._record.finish_reasons.append(reason.value)

    def embedded(self, request: EmbedRequest, embeddings: Embeddings) -> None:
        metrics, tokens = self._bound, embeddings.usage.prompt_tokens
        metrics.success[FinishReason.STOP].inc(len(request.inputs))
        metrics.prompt_tokens.inc(tokens)
        metrics.request_prompt_tokens.observe(tokens)
        metrics.e2e_latency.observe(time.monotonic() - self._arrival)
        self._record.prompt_tokens = tokens

    def failed(self, request: Request | EmbedRequest, error: BaseException) -> None:
        code = (error.code if isinstance(error, PennyweightError) else None) or INTERNAL_ERROR
        metrics = self._bound
        metrics.failure.labels(metrics.model_name, code).inc()
        self._record.error_code = code

    def abandoned(self, request: Request | EmbedRequest) -> None:
        self._bound.success["abort"].inc()


def note_given(
    record: RequestRecord, metrics: ModelMetrics, usage: Usage, reasons: Sequence[FinishReason], *, age: float, key: str
) -> None:
    """What a CallObserver would have been told of a hit whose whole answer is given at once, now; the model is in the record."""
    now = time.monotonic() - record.arrival
    for reason in reasons:
        metrics.success[reason].inc()
    metrics.given_prompt_tokens.inc(usage.prompt_tokens)
    metrics.given_generation_tokens.inc(usage.completion_tokens)
    metrics.time_to_first_token.observe(now)
    metrics.e2e_latency.observe(now)
    record.cache, record.cache_key, record.cache_age = CacheResult.HIT.value, key, age
    record.ttft = now
    record.finish_reasons.extend([reason.value for reason in reasons])
    record.prompt_tokens, record.completion_tokens = usage.prompt_tokens, usage.completion_tokens
    record.cached_tokens = usage.cached_tokens
