"""The router as an engine around engines."""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from pennyweight.server.cache.result import GIVEN_AGAIN, CacheResult, result_of_all
from pennyweight.server.engines.base import Capabilities, Engine, EngineStats, Health, HealthState
from pennyweight.server.engines.features import Feature
from pennyweight.server.errors import InvalidRequest, ModelLoading, PennyweightError
from pennyweight.server.types import (
    Delta,
    Determinism,
    DroppedAnswer,
    Embeddings,
    EmbedRequest,
    Event,
    Finished,
    Prompt,
    Request,
    Started,
)

from .cascade.cascade import Cascade
from .chain import Chain
from .decision import Decision
from .kept import KeptAnswers, is_failure
from .router import Router
from .tally import Tally
from .target import Target
from .tier import Tier

# What only one model can do, and so none that is chosen anew for each request.
_OF_ONE_MODEL = frozenset(
    {Feature.TOKENIZE, Feature.DETOKENIZE, Feature.EMBEDDINGS, Feature.ECHO, Feature.TOKEN_PROMPTS}
)


class RouterEngine:
    """Implements Choosing by the models of ``tiers``, one chosen for each request."""

    def __init__(
        self,
        router: Router,
        chain: Chain,
        cascade: Cascade,
        kept: KeptAnswers,
        engines: Mapping[str, Engine],
        tiers: Sequence[Tier],
        name: str,
        tally: Tally,
    ) -> None:
        self._router = router
        self._chain = chain
        self._cascade = cascade
        self._kept = kept
        self._engines = engines
        self._tiers = tiers
        self._name = name
        self._tally = tally
        self._targets = {one.name: one for tier in tiers for one in (*tier.targets, *tier.fallbacks)}

    def explain(self, request: Request) -> dict[str, Any]:
        """The decision with all that it was made by. Raises what ``Router.decide`` raises."""
        decision = self._router.decide(request, self._tiers)
        if decision.refusal is not None:
            raise decision.refusal
        return self._explained(decision)

    def _explained(self, decision: Decision) -> dict[str, Any]:
        return {
            "tier": decision.tier.name,
            "policy": decision.policy,
            "reason": decision.choice.reason,
            "scores": dict(decision.choice.scores),
            "model": decision.chain[0].name if decision.chain else None,
            "chain": [target.name for target in decision.chain],
            "fallbacks": [target.name for target in decision.chain[decision.num_own :]],
            "escalation": self._escalation(decision),
            "considered": [
                {"tier": one.tier, "model": one.target.name, "refusal": one.refusal, "order": _finite(one.order)}
                for one in decision.considered
            ],
        }

    async def generate(self, request: Request) -> AsyncGenerator[Event]:
        """What the models answer or, when they fail, what is kept of them."""
        decision = self._router.decide(request, self._tiers)
        tries = self._chain.begin()
        carrier = self._chain if decision.escalation is None else self._cascade
        told = _Told(self._tally, self._targets, self._explained(decision) if request.is_recorded else None)
        try:
            if decision.refusal is not None:
                raise decision.refusal
            async with aclosing(carrier.generate(request, decision, tries)) as events:
                async for event in events:
                    yield event if isinstance(event, Delta) else told.of(event)
            return
        except PennyweightError as error:
            if told.has_begun or not is_failure(error, tries):
                raise
            kept = await self._kept.find(request, decision, tries)
            if kept is None:
                raise
        for event in kept:
            yield event if isinstance(event, Delta) else told.of(event)

    def capabilities(self) -> Capabilities:
        """What at least one of the models can do; the longest context, and the tool calls of the first. Raises ModelLoading before one is ready."""
        known = [found for name in self._targets if (found := self._known(name)) is not None]
        if not known:
            raise ModelLoading(f"No model of {self._name} has been loaded yet.")
        lengths = [one.max_model_len for one in known]
        kwargs = [one.template_kwargs for one in known]
        strongest = max(known, key=lambda one: list(Determinism).index(one.determinism))
        prints = "".join(f"{one.model}={one.fingerprint};" for one in known)
        return Capabilities(
            model=self._name,
            engine="router",
            fingerprint="fp_" + hashlib.sha256(prints.encode()).hexdigest()[:16],
            max_model_len=None if None in lengths else max(one for one in lengths if one is not None),
            vocab_size=None,
            tool_format=known[0].tool_format,
            has_chat_template=any(one.has_chat_template for one in known),
            template_kwargs=None if None in kwargs else frozenset().union(*(one for one in kwargs if one is not None)),
            features=frozenset().union(*(one.features for one in known)) - _OF_ONE_MODEL,
            determinism=strongest.determinism,
            variance=strongest.variance,
        )

    async def tokenize(self, prompt: Prompt) -> list[int]:
        raise self._of_one_model()

    async def detokenize(self, token_ids: list[int]) -> str:
        raise self._of_one_model()

    async def embed(self, request: EmbedRequest) -> Embeddings:
        raise self._of_one_model()

    def health(self) -> Health:
        """Ready as soon as one of the models is; as the first is otherwise."""
        states = [self._engines[name].health() for name in self._targets]
        return next((one for one in states if one.state is HealthState.READY), states[0])

    def stats(self) -> EngineStats:
        """Nothing of its own: the models tell what they do."""
        return EngineStats()

    async def aclose(self) -> None:
        """Does nothing: the models are their owner's."""

    def _escalation(self, decision: Decision) -> dict[str, Any] | None:
        """What is done where the answer is judged not to be sure enough; None where none is judged."""
        if (stronger := decision.escalation) is None:
            return None
        return {
            "tier": stronger.tier.name,
            "chain": [target.name for target in stronger.chain],
            "judges": [judge.name for judge in self._cascade.judges],
        }

    def _known(self, name: str) -> Capabilities | None:
        try:
            return self._engines[name].capabilities()
        except ModelLoading:
            return None

    def _of_one_model(self) -> InvalidRequest:
        return InvalidRequest(
            f"{self._name} is no model, but chooses one for each request: name a model for this.", param="model"
        )


class _Told:
    """Counts one request's answer, and has its beginning tell of all that was made for it; ``inputs`` are what it was decided by."""

    def __init__(self, tally: Tally, targets: Mapping[str, Target], inputs: dict[str, Any] | None) -> None:
        self._tally = tally
        self._targets = targets
        self._inputs = inputs
        self._model = ""
        self._is_given = False
        self.has_begun = False

    def of(self, event: Started | Finished) -> Event:
        """The event as the client's side is told it."""
        if isinstance(event, Finished):
            self._tally.finished(self._model, event.usage, self._targets, is_given=self._is_given)
            return event
        self.has_begun = True
        route = event.route
        assert route is not None, "a chain, a cascade and what is kept tell it"
        self._model, self._is_given = route.model, event.cache in GIVEN_AGAIN
        self._tally.began(route, self._targets)
        if route.dropped:
            event = _with_cache_of_all(event, route.dropped)
        if self._inputs is not None:
            event = msgspec.structs.replace(event, inputs={**event.inputs, "router": self._inputs})
        return event


def _with_cache_of_all(started: Started, dropped: Sequence[DroppedAnswer]) -> Started:
    """What the response cache did for the answer that took the most of those that were made for a request: nothing was generated for
    it only if all were kept."""
    bypassed = CacheResult.BYPASS.value
    result = result_of_all(one or bypassed for one in (started.cache, *(answer.cache for answer in dropped)))
    return msgspec.structs.replace(started, cache=None if result == bypassed else result)


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no infinity, which stands for a price that isn't known."""
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
