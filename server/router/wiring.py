"""The router of a server's settings: tiers, policies and chain put together, an engine for each name that leaves the choice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pennyweight.server.config import Settings
from pennyweight.server.config_named import AUTO
from pennyweight.server.engines.base import Engine
from pennyweight.server.engines.leasing import leasing
from pennyweight.server.ledger.price_book import PriceBook
from pennyweight.server.retry_budget import RetryBudget
from pennyweight.server.tenants import Tenants

from .breaker import CircuitBreaker
from .cascade.cascade import Cascade
from .cascade.judges import make_judges
from .cascade.schema_checker import SchemaChecker
from .chain import Chain
from .engine import RouterEngine
from .kept import KeptAnswers
from .policies import AskedTier, DefaultTier, Learned, PromptLength, RuleMatch, TierPolicy, WeakerFirst
from .router import Router
from .rules import Rules
from .tally import Tally
from .tier import tiers_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """``engines`` are by the names that clients give: ``auto``, and ``auto:TIER`` for each tier. The rest is for metrics."""

    engines: Mapping[str, RouterEngine]
    chain: Chain
    cascade: Cascade
    checker: SchemaChecker
    breakers: Mapping[str, CircuitBreaker]
    budget: RetryBudget
    tally: Tally

    async def aclose(self) -> None:
        """End what was started for it."""
        await self.checker.aclose()


def route_names(settings: Settings) -> tuple[str, ...]:
    """The names that leave the choice to the router; none where there are no tiers."""
    return (AUTO, *(f"{AUTO}:{tier}" for tier in settings.tiers)) if settings.tiers else ()


def make_routing(
    settings: Settings,
    engines: Mapping[str, Engine],
    tenants: Tenants,
    prices: PriceBook,
    around: Sequence[Callable[[Engine], Engine]] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Routing:
    """``around`` are what a request passes on its way to the model that was chosen, the outermost last. Raises ConfigError."""
    tiers = tiers_of(settings, prices)
    own = settings.router
    router = Router(tiers, engines, _policies(settings), tenants, own, clock)
    breakers = {name: CircuitBreaker(own.failures_to_open, own.reset_seconds, clock) for name in router.latency}

    def engine_of(name: str) -> Engine:
        engine = leasing(engines[name])
        for wrap in around:
            engine = wrap(engine)
        return engine

    budget = RetryBudget(own.fallback_budget)
    chain = Chain(router, engine_of, breakers, budget, clock)
    checker = SchemaChecker()
    cascade = Cascade(chain, engines, make_judges(own.cascade, engines, checker))
    kept = KeptAnswers(engine_of, cascade)
    tally = Tally()
    served = [tiers] + [(tier,) for tier in tiers]
    return Routing(
        engines={
            name: RouterEngine(router, chain, cascade, kept, engines, some, name, tally)
            for name, some in zip(route_names(settings), served, strict=False)
        },
        chain=chain,
        cascade=cascade,
        checker=checker,
        breakers=breakers,
        budget=budget,
        tally=tally,
    )


def _policies(settings: Settings) -> list[TierPolicy]:
    own = settings.router
    found: list[TierPolicy] = [AskedTier()]
    if own.rules:
        found.append(RuleMatch(Rules(own.rules)))
    if own.policy == "length" and own.between is not None:
        found.append(PromptLength(*own.between, own.long_prompt))
    elif own.policy == "learned" and own.between is not None and own.learned is not None:
        from .learned import LearnedRouter

        learned = LearnedRouter.load(Path(own.learned).expanduser())
        threshold = (
            learned.threshold_for_quality(own.quality)
            if own.quality is not None
            else learned.threshold_for_share(0.5 if own.strong_share is None else own.strong_share)
        )
        found.append(Learned(*own.between, learned, threshold))
    elif own.policy == "cascade" and own.between is not None:
        found.append(WeakerFirst(*own.between))
    return [*found, DefaultTier(own.default_tier or next(iter(settings.tiers), None))]
