"""The router as an engine around engines."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec

from pennyweight.server.cache.result import GIVEN_AGAIN
from pennyweight.server.engines.base import Capabilities, Engine, EngineStats, Health, HealthState
from pennyweight.server.engines.features import Feature
from pennyweight.server.errors import InvalidRequest, ModelLoading
from pennyweight.server.types import (
    Determinism,
    Embeddings,
    EmbedRequest,
    Event,
    Finished,
    Prompt,
    Request,
    Started,
    Usage,
)

from .chain import Chain
from .decision import Decision
from .router import Router
from .tier import Tier

# What only one model can do, and so none that is chosen anew for each request.
_OF_ONE_MODEL = frozenset(
    {Feature.TOKENIZE, Feature.DETOKENIZE, Feature.EMBEDDINGS, Feature.ECHO, Feature.TOKEN_PROMPTS}
)


@dataclass(frozen=True, slots=True)
class Routed:
    """What is counted of a request: its tier, its model and the policy that chose them."""

    tier: str
    model: str
    policy: str


class Tally:
    """What the router has done so far: requests by route, and dollars by model, those spent and those that the dearest would have cost more."""

    def __init__(self) -> None:
        self.routed: Counter[Routed] = Counter()
        self.spent: dict[str, float] = {}
        self.saved: dict[str, float] = {}


class RouterEngine:
    """Implements Choosing by the models of ``tiers``, one chosen for each request."""

    def __init__(
        self,
        router: Router,
        chain: Chain,
        engines: Mapping[str, Engine],
        tiers: Sequence[Tier],
        name: str,
        tally: Tally,
    ) -> None:
        self._router = router
        self._chain = chain
        self._engines = engines
        self._tiers = tiers
        self._name = name
        self._tally = tally
        self._targets = {one.name: one for tier in tiers for one in (*tier.targets, *tier.fallbacks)}

    def explain(self, request: Request) -> dict[str, Any]:
        """The decision with all that it was made by. Raises what ``Router.decide`` raises."""
        return _explained(self._router.decide(request, self._tiers))

    async def generate(self, request: Request) -> AsyncGenerator[Event]:
        decision = self._router.decide(request, self._tiers)
        model, is_given = "", False
        async with aclosing(self._chain.generate(request, decision)) as events:
            async for event in events:
                if isinstance(event, Started) and event.route is not None:
                    model, is_given = event.route.model, event.cache in GIVEN_AGAIN
                    self._tally.routed[Routed(decision.tier.name, model, decision.policy)] += 1
                    if request.is_recorded:
                        inputs = {**event.inputs, "router": _explained(decision)}
                        event = msgspec.structs.replace(event, inputs=inputs)
                elif isinstance(event, Finished):
                    self._count(model, event.usage, is_given=is_given)
                yield event

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

    def _known(self, name: str) -> Capabilities | None:
        try:
            return self._engines[name].capabilities()
        except ModelLoading:
            return None

    def _count(self, model: str, usage: Usage, *, is_given: bool) -> None:
        cost = self._targets[model].cost(usage)
        if cost is None:
            return
        if is_given:  # by the response cache, which has nothing generated for it
            cost = 0.0
        dearest = max(one for target in self._targets.values() if (one := target.cost(usage)) is not None)
        tally = self._tally
        tally.spent[model] = tally.spent.get(model, 0.0) + cost
        tally.saved[model] = tally.saved.get(model, 0.0) + dearest - cost

    def _of_one_model(self) -> InvalidRequest:
        return InvalidRequest(
            f"{self._name} is no model, but chooses one for each request: name a model for this.", param="model"
        )


def _explained(decision: Decision) -> dict[str, Any]:
    return {
        "tier": decision.tier.name,
        "policy": decision.policy,
        "reason": decision.choice.reason,
        "scores": dict(decision.choice.scores),
        "model": decision.chain[0].name,
        "chain": [target.name for target in decision.chain],
        "fallbacks": [target.name for target in decision.chain[decision.num_own :]],
        "considered": [
            {"tier": one.tier, "model": one.target.name, "refusal": one.refusal, "order": _finite(one.order)}
            for one in decision.considered
        ],
    }


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no infinity, which stands for a price that isn't known."""
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
