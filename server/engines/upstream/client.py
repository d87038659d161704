"""An engine whose model another server runs."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from pennyweight.server.config import UpstreamSettings
from pennyweight.server.engines.base import UPSTREAM_CALLS, Capabilities, EngineStats, Health, HealthState
from pennyweight.server.engines.determinism import honoured
from pennyweight.server.engines.features import Feature, refuse_unsupported
from pennyweight.server.engines.manifest import manifest_of
from pennyweight.server.errors import DeadlineExceeded, ModelLoading, UnsupportedParameter
from pennyweight.server.retry_budget import RetryBudget
from pennyweight.server.types import Determinism, Embeddings, EmbedRequest, Event, Prompt, Request, TokensPrompt

from .answer import Answer
from .api_key import read_api_key
from .circuit import Circuit
from .dialect import features
from .embedding import embedding_fields, embeddings_of
from .exchange import Exchange
from .failure import Failure, broken
from .models import told_max_model_len
from .refusal import failure_of_answer
from .request_body import path_and_body, prompt_fields
from .retry_policy import RetryPolicy
from .session import Session
from .settings_check import check_settings
from .slots import Slots
from .waits import Waits
from .watch import Watch

_T = TypeVar("_T")

# What a server may take to say that it is there, beyond the time to connect.
CHECK_SECONDS = 5.0
VARIANCE = (
    "how another server computes is not known here (models.NAME.upstream.deterministic says what its operator promises)"
)


class UpstreamEngine:
    """Implements Engine and Remote over any OpenAI-compatible server; ``start`` first. ``name`` is what clients call the model.

    A request is tried again only while nothing of its answer has been yielded. Raises ConfigError for settings that
    can't be used.
    """

    def __init__(self, upstream: UpstreamSettings, name: str) -> None:
        check_settings(upstream)
        self._upstream = upstream
        self._name = name
        self._base_url = upstream.base_url.rstrip("/")
        self._api_key = read_api_key(upstream)
        self._capabilities: Capabilities | None = None
        self._session: Session | None = None
        self._exchange: Exchange | None = None
        self._waits = Waits()
        self._slots = Slots(upstream.max_connections, self._waits)
        self._retries = RetryPolicy(
            RetryBudget(upstream.retry_budget),
            max_retries=upstream.max_retries,
            max_retry_after=upstream.max_retry_after,
        )
        self._watch = Watch(Circuit(upstream.failures_to_open), self._check, interval=upstream.check_interval)
        self._num_retries = 0
        self._retry_seconds = 0.0

    @property
    def leaves(self) -> bool:
        return not self._upstream.private

    async def start(self) -> None:
        """Ask the upstream what it has. Returns also when it isn't there: health tells, and requests find out."""
        self._session = Session(self._upstream, self._api_key)
        self._exchange = Exchange(self._session, self._waits, self._upstream, hide=self._api_key.hide)
        await self._watch.start()
        self._capabilities = self._capabilities or self._made_capabilities(None)

    async def generate(self, request: Request) -> AsyncGenerator[Event]:
        exchange, capabilities = self._ready()
        refuse_unsupported(request, capabilities)
        path, body = path_and_body(request, self._upstream)
        self._retries.request()
        has_begun = False
        for num_retries in itertools.count():
            self._waits.check()
            self._watch.refuse_if_open()
            answer = Answer(
                request,
                fingerprint=capabilities.fingerprint,
                hide=self._api_key.hide,
                determinism=honoured(request, capabilities),
            )
            began = time.monotonic()
            try:
                async with self._slots.hold():
                    stream = exchange.stream(self._base_url + path, body, answer, seconds=_seconds_left(request))
                    async with aclosing(stream) as events:
                        async for event in events:
                            has_begun = True
                            yield event
            except Failure as failure:
                self._waits.check()
                self._watch.failed(failure)
                is_final = has_begun or self._watch.is_open
                delay = None if is_final else self._retries.delay(failure, num_retries)
                left = _seconds_left(request)
                if delay is None or (left is not None and delay >= left):
                    raise failure.error from None
            else:
                self._watch.succeeded()
                yield answer.finished()
                return
            await self._waits.sleep(delay)
            self._num_retries += 1
            self._retry_seconds += time.monotonic() - began

    def capabilities(self) -> Capabilities:
        return self._ready()[1]

    async def tokenize(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, TokensPrompt):
            return list(prompt.token_ids)
        answer = await self._ask(Feature.TOKENIZE, self._root + "/tokenize", prompt_fields(prompt))
        return _convert(answer.get("tokens"), list[int])

    async def detokenize(self, token_ids: list[int]) -> str:
        answer = await self._ask(Feature.DETOKENIZE, self._root + "/detokenize", {"tokens": token_ids})
        return _convert(answer.get("prompt"), str)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        answer = await self._ask(Feature.EMBEDDINGS, self._base_url + "/embeddings", embedding_fields(request))
        return embeddings_of(answer, request)

    def health(self) -> Health:
        if self._waits.is_over:
            return Health(state=HealthState.DRAINING, detail="shutting down")
        if self._capabilities is None:
            return Health(state=HealthState.LOADING, detail="the upstream has not been asked yet")
        return self._watch.health

    def stats(self) -> EngineStats:
        return EngineStats(
            running=self._slots.running,
            waiting=self._slots.waiting,
            retries=self._num_retries,
            retry_seconds=self._retry_seconds,
        )

    async def aclose(self) -> None:
        self._waits.end()
        await self._watch.stop()
        if self._session is not None:
            await self._session.aclose()

    def _ready(self) -> tuple[Exchange, Capabilities]:
        if self._exchange is None or self._capabilities is None:
            raise ModelLoading(f"The upstream of {self._name} has not been asked yet.", retry_after=1.0)
        return self._exchange, self._capabilities

    async def _check(self) -> None:
        """Ask whether the upstream is there. Raises Failure when it isn't, or will answer no request of ours."""
        assert self._exchange is not None, "it was started"
        seconds = self._upstream.connect_timeout + CHECK_SECONDS
        answer = await self._exchange.ask("GET", self._base_url + "/models", seconds=seconds)
        # Not every server has this path, and not every key may use it.
        if answer.status >= 500 or answer.status == 401 or 300 <= answer.status < 400:
            raise failure_of_answer(answer.status, answer.headers, answer.body, self._api_key.hide)
        told = told_max_model_len(answer.body, self._upstream.model or self._name) if answer.status == 200 else None
        if self._capabilities is None:
            self._capabilities = self._made_capabilities(told)
        elif self._capabilities.max_model_len is None:
            self._capabilities = replace(self._capabilities, max_model_len=told)

    def _made_capabilities(self, told_max_model_len: int | None) -> Capabilities:
        upstream = self._upstream
        parts = [upstream.base_url, upstream.model, upstream.dialect, upstream.parameters, self._name]
        # Their digest alone: what is sent to the upstream may be nobody else's business.
        digest = hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()
        manifest = manifest_of(self._name, {"upstream": digest})
        return Capabilities(
            model=upstream.model or self._name,
            engine="upstream",
            fingerprint=manifest.fingerprint,
            max_model_len=upstream.max_model_len or told_max_model_len,
            vocab_size=None,
            tool_format=UPSTREAM_CALLS,
            template_kwargs=None,
            features=features(upstream),
            determinism=Determinism(upstream.deterministic),
            variance=VARIANCE,
            manifest=manifest,
            details={"upstream": self._base_url, "dialect": upstream.dialect},
        )

    @property
    def _root(self) -> str:
        """Where vLLM has what OpenAI has not."""
        return self._base_url.removesuffix("/v1")

    async def _ask(self, feature: Feature, url: str, fields: dict[str, Any]) -> dict[str, Any]:
        """The answer of an endpoint that answers whole."""
        exchange, capabilities = self._ready()
        if feature not in capabilities.features:
            raise UnsupportedParameter(f"The upstream of {self._name} does not support '{feature}'.")
        self._watch.refuse_if_open()
        body = msgspec.json.encode({"model": self._upstream.model or self._name, **fields})
        try:
            async with self._slots.hold():
                answer = await exchange.ask("POST", url, body, seconds=self._upstream.token_timeout)
            if answer.status != 200:
                raise failure_of_answer(answer.status, answer.headers, answer.body, self._api_key.hide)
        except Failure as failure:
            self._waits.check()
            self._watch.failed(failure)
            raise failure.error from None
        try:
            return msgspec.json.decode(answer.body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise broken("The upstream's answer is no JSON object.").error from None


def _seconds_left(request: Request) -> float | None:
    """Until its deadline. Raises DeadlineExceeded when that has passed: then nothing is sent."""
    if request.deadline is None:
        return None
    if (left := request.deadline - time.monotonic()) > 0:
        return left
    raise DeadlineExceeded("The time that the request gave for its answer is over.")


def _convert(value: object, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise broken("The upstream's answer is not what was asked for.").error from None
