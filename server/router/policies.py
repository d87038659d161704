"""How a tier is chosen: one small class for each way, asked in turn until one has a word to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from pennyweight.server.types import Request

from .decision import Choice
from .prompt_facts import PromptFacts
from .prompt_text import characters, question
from .rules import Rules
from .tier import Tier

if TYPE_CHECKING:
    from .learned import LearnedRouter  # numpy, which a server without it does not load


class TierPolicy(Protocol):
    """Same request and tiers, same choice; without a state that requests change, and in well under a millisecond."""

    name: str

    def choose(self, request: Request, tiers: Sequence[Tier]) -> Choice | None:
        """One of ``tiers``, which are those that have a model for the request, in their order; None to leave it to the next policy."""
        ...


class AskedTier:
    """What the client asks for, by name."""

    name = "asked"

    def choose(self, request: Request, tiers: Sequence[Tier]) -> Choice | None:
        asked = request.routing.tier if request.routing is not None else None
        return None if asked is None else Choice(tier=asked, reason="asked for")


class RuleMatch:
    """The operator's rules, the first that holds."""

    name = "rules"

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def choose(self, request: Request, tiers: Sequence[Tier]) -> Choice | None:
        headers = request.routing.headers if request.routing is not None else None
        rule = self._rules.match(PromptFacts(request, headers))
        if rule is None:
            return None
        for tier in tiers:
            if tier.name == rule.tier or any(target.name == rule.model for target in tier.targets):
                return Choice(tier=tier.name, model=rule.model, reason=f"rule for {rule.model or rule.tier}")
        return None


class PromptLength:
    """Long prompts are for the stronger of two tiers: what learned routers are to be compared with, which seldom do much better."""

    name = "length"

    def __init__(self, weaker: str, stronger: str, long_prompt: int) -> None:
        self._tiers = weaker, stronger
        self._long_prompt = long_prompt

    def choose(self, request: Request, tiers: Sequence[Tier]) -> Choice | None:
        length = characters(request.prompt)
        is_long = length >= self._long_prompt
        tier = self._tiers[is_long]
        if all(tier != one.name for one in tiers):
            return None
        sign = ">=" if is_long else "<"
        return Choice(
            tier=tier, reason=f"{length} characters {sign} {self._long_prompt}", scores={"characters": length}
        )


class Learned:
    """Prompts of which a learned router expects the stronger of two tiers to gain ``threshold`` or more are for that one."""

    name = "learned"

    def __init__(self, weaker: str, stronger: str, router: LearnedRouter, threshold: float) -> None:
        self._tiers = weaker, stronger
        self._router = router
        self._threshold = threshold

    def choose(self, request: Request, tiers: Sequence[Tier]) -> Choice | None:
        text = question(request.prompt)
        if not text:
            return None
        estimate = self._router.strong_gain(text)
        is_hard = estimate.score >= self._threshold
        tier = self._tiers[is_hard]
        if all(tier != one.name for one in tiers):
            return None
        return Choice(
            tier=tier,
            reason=f"score {estimate.score:.3f} {'>=' if is_hard else '<'} {self._threshold:.3f}",
            scores={
                "score": estimate.score,
                "weak_ok": estimate.p_weak_ok,
                "strong_ok": estimate.p_strong_ok,
            },
        )


class WeakerFirst:
    """The weaker of two tiers answers, and is judged; what that says of the request is known only then."""

    name = "cascade"

    def __init__(self, weaker: str, stronger: str) -> None:
        self._weaker = weaker
        self._stronger = stronger

    def choose(self, request: Request, tiers: Sequence[Tier]) -> Choice | None:
        there = {tier.name for tier in tiers}
        if self._weaker not in there or self._stronger not in there:
            return None
        return Choice(
            tier=self._weaker, stronger=self._stronger, reason=f"to be judged before {self._stronger} is asked"
        )


class DefaultTier:
    """One tier for all; where it has no model for the request, the first that has."""

    name = "default"

    def __init__(self, tier: str | None) -> None:
        self._tier = tier

    def choose(self, request: Request, tiers: Sequence[Tier]) -> Choice | None:
        if any(tier.name == self._tier for tier in tiers):
            assert self._tier is not None
            return Choice(tier=self._tier, reason="the default")
        return Choice(tier=tiers[0].name, reason="the first that can")
