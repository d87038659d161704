"""The decision: a tier by the first policy that has a word to say, and in it the models in their order."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

from pennyweight.server.config import RouterSettings
from pennyweight.server.engines.base import Engine, HealthState, data_leaves
from pennyweight.server.engines.features import refuse_unsupported
from pennyweight.server.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelLoading,
    PennyweightError,
    PermissionDenied,
    Unavailable,
    UnsupportedParameter,
)
from pennyweight.server.tenants import Tenant, Tenants
from pennyweight.server.types import ChatPrompt, Request, Usage

from .affinity import Affinity
from .decision import Choice, Considered, Decision, Kept
from .latency import EXPECTED_TOKENS, Latency
from .policies import TierPolicy
from .prompt_text import MOST_CHARACTERS_PER_TOKEN, characters, estimated_tokens
from .target import Target
from .tier import Tier

# Where an engine takes requests, or is made to by one.
_OPEN = frozenset({HealthState.READY, HealthState.UNLOADED, HealthState.SLEEPING})
RETRY_SECONDS = 1.0


class Router:
    """Decides for each request, and remembers how the models do. All methods belong to the event loop's thread.

    Requests and states that are the same get the same decision: the least of the orders' numbers counts, and of equal models the
    one whose name comes first.
    """

    def __init__(
        self,
        tiers: Sequence[Tier],
        engines: Mapping[str, Engine],
        policies: Sequence[TierPolicy],
        tenants: Tenants,
        settings: RouterSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tiers = tuple(tiers)
        self._engines = engines
        self._policies = policies
        self._tenants = tenants
        self._order = settings.order
        cascade = settings.cascade
        self._weaker_answers = 1 + (cascade.samples if "agreement" in cascade.judges else 0)
        self.affinity = Affinity()
        self.latency = {target.name: Latency(clock) for tier in tiers for target in (*tier.targets, *tier.fallbacks)}

    def decide(self, request: Request, within: Sequence[Tier]) -> Decision:
        """Where the request goes, among the tiers ``within``.

        Raises PermissionDenied for a tier that isn't the tenant's, InvalidRequest for one that there isn't and for a request that
        no model can answer, Unavailable when those that could can't now, and no kept answer of theirs may be given.
        """
        tenant = self._tenants[request.tenant]
        permitted = self._permitted(request, within, tenant)
        written = tool_format(self._engines, within)
        found = {
            tier.name: {
                target.name: self._refusal(target, tier.asked(request), tenant, written)
                for target in (*tier.targets, *tier.fallbacks)
            }
            for tier in permitted
        }
        asked = request.routing.tier if request.routing is not None else None
        wanted = [tier for tier in permitted if asked in (None, tier.name)]
        able = [tier for tier in wanted if None in found[tier.name].values()]
        refusal = None
        if not able:
            refusal = _refused([error for tier in wanted for error in found[tier.name].values()])
            able = [tier for tier in wanted if _kept(tier, found[tier.name])]
            if not able:
                raise refusal
        policy, choice = self._chosen(request, able)

        def decided(choice: Choice) -> Decision:
            return self._decision(request, policy, choice, permitted, found, refusal)

        decision = decided(choice)
        if choice.stronger is None:
            return decision
        stronger = decided(Choice(tier=choice.stronger, reason=f"no model of {choice.tier} can"))
        return self._cascade(request, decision, stronger)

    def _cascade(self, request: Request, weaker: Decision, stronger: Decision) -> Decision:
        """The weaker tier's own models answer first; the stronger's own come after them, and then both tiers' fallbacks."""
        own = stronger.chain[: stronger.num_own]
        others = (*stronger.chain[stronger.num_own :], *weaker.chain[weaker.num_own :])
        fallbacks = tuple(one for place, one in enumerate(others) if one not in (*own, *others[:place]))
        kept = (*stronger.kept, *weaker.kept)
        escalation = dataclasses.replace(stronger, chain=(*own, *fallbacks), kept=kept)
        if not weaker.num_own:
            return escalation
        cheap = weaker.chain[: weaker.num_own]
        if not own:
            reason = f"no model of {stronger.tier.name} can"
        elif not self._may_cost_both(request, cheap[0], own[0]):
            reason = "max_cost leaves no room for a second answer"
        else:
            return dataclasses.replace(weaker, chain=cheap, kept=kept, escalation=escalation)
        return dataclasses.replace(weaker, choice=dataclasses.replace(weaker.choice, stronger=None, reason=reason))

    def _may_cost_both(self, request: Request, weaker: Target, stronger: Target) -> bool:
        ceiling = request.routing.max_cost if request.routing is not None else None
        if ceiling is None:
            return True
        usage = _expected_usage(request)
        # Neither is None: of what is not known to cost less than the ceiling nothing is asked.
        costs = [self._weaker_answers * (weaker.cost(usage) or 0.0), stronger.cost(usage) or 0.0]
        return sum(costs) <= ceiling

    def _decision(
        self,
        request: Request,
        policy: str,
        choice: Choice,
        permitted: Sequence[Tier],
        found: Mapping[str, Mapping[str, PennyweightError | None]],
        refusal: PennyweightError | None,
    ) -> Decision:
        """``found`` is why each model of each tier can't take the request, None for one that can."""
        tier = next(one for one in permitted if one.name == choice.tier)
        refusals = found[tier.name]
        orders = self._orders(request, tier, refusals)
        own = sorted(
            (one for one in tier.targets if one.name in orders),
            key=lambda one: (one.name != choice.model, *orders[one.name].values(), one.name),
        )
        fallbacks = [one for one in tier.fallbacks if refusals[one.name] is None and one not in own]
        return Decision(
            tier=tier,
            policy=policy,
            choice=choice,
            chain=(*own, *fallbacks),
            num_own=len(own),
            kept=tuple(_kept(tier, refusals)),
            refusal=refusal,
            considered=tuple(
                Considered(
                    target=target,
                    tier=one.name,
                    refusal=None if (error := found[one.name][target.name]) is None else error.message,
                    order=orders.get(target.name, {}) if one is tier else {},
                )
                for one in permitted
                for target in one.targets
            ),
        )

    def _permitted(self, request: Request, within: Sequence[Tier], tenant: Tenant) -> list[Tier]:
        asked = request.routing.tier if request.routing is not None else None
        if asked is not None and all(asked != tier.name for tier in within):
            there = ", ".join(tier.name for tier in within)
            raise InvalidRequest(f"There is no tier {asked[:100]!r} here; there are {there}.", param="service_tier")
        permitted = [tier for tier in within if tenant.tiers is None or tier.name in tenant.tiers]
        wanted = [tier for tier in permitted if asked in (None, tier.name)]
        if not wanted:
            raise PermissionDenied(f"You may not use the tier {asked or within[0].name}.", param="model")
        return permitted

    def _chosen(self, request: Request, tiers: Sequence[Tier]) -> tuple[str, Choice]:
        for policy in self._policies:
            choice = policy.choose(request, tiers)
            if choice is not None:
                return policy.name, choice
        raise AssertionError("the last policy always has a word to say")

    def _orders(
        self, request: Request, tier: Tier, refusals: Mapping[str, PennyweightError | None]
    ) -> dict[str, dict[str, float]]:
        """The numbers by which each model of the tier that can take the request is ordered, in the order of their weight."""
        able = [target for target in tier.targets if refusals[target.name] is None]
        home = self.affinity.model_of(request) if "affinity" in self._order and len(able) > 1 else None
        least = min((self.latency[target.name].under_way for target in able), default=0)
        found = {}
        for target in able:
            latency = self.latency[target.name]
            expected = latency.expected(request.sampling.max_tokens)
            wanted = tier.settings
            late = (
                (wanted.ttft is not None and expected.ttft > wanted.ttft)
                or (wanted.tpot is not None and expected.tpot > wanted.tpot)
                or (wanted.total is not None and expected.total > wanted.total)
            )
            # Keys and values are worth less than a queue that is much longer than elsewhere.
            is_home = target.name == home and latency.under_way <= 2 * least + 4
            cost = target.cost(_expected_usage(request))
            numbers: dict[str, float] = {
                "affinity": 0.0 if is_home else 1.0,
                "slo": float(late),
                "price": float("inf") if cost is None else cost,
                "load": expected.total,
            }
            found[target.name] = {str(name): numbers[name] for name in self._order}
        return found

    def _refusal(
        self, target: Target, request: Request, tenant: Tenant, written: str | None
    ) -> PennyweightError | None:
        """Why a model can't take the request; None where it can, as far as is known before it is asked. ``written`` is the one way
        of writing tool calls that the answer will be read for."""
        engine = self._engines[target.name]
        if data_leaves(engine) and not tenant.data_may_leave:
            return PermissionDenied(f"{target.name}: the request may not leave for it", param="model")
        ceiling = request.routing.max_cost if request.routing is not None else None
        if ceiling is not None:
            cost = target.cost(_expected_usage(request))
            if cost is None:
                return InvalidRequest(f"{target.name}: what it costs is not known", param="max_cost")
            if cost > ceiling:
                return InvalidRequest(f"{target.name}: about ${cost:.6f}, above {ceiling:g}", param="max_cost")
        health = engine.health()
        if health.state not in _OPEN:
            return Unavailable(f"{target.name}: {health.state.value}", retry_after=RETRY_SECONDS)
        try:
            capabilities = engine.capabilities()
            refuse_unsupported(request, capabilities)
        except ModelLoading:
            return None  # it will be loaded, and then it is known
        except InvalidRequest as error:
            return error
        if isinstance(request.prompt, ChatPrompt):
            if request.prompt.tools and capabilities.tool_format != written:
                return UnsupportedParameter(f"{target.name}: it writes tool calls in another way", param="tools")
            if not capabilities.has_chat_template:
                return UnsupportedParameter(f"{target.name}: it has no chat template", param="messages")
        length = characters(request.prompt)
        most = capabilities.max_model_len
        if most is not None and length > most * MOST_CHARACTERS_PER_TOKEN:
            return ContextLengthExceeded(f"{target.name}: {length} characters are too long for it", param="messages")
        return None


def tool_format(engines: Mapping[str, Engine], tiers: Sequence[Tier]) -> str | None:
    """How the first model of the tiers writes tool calls; None where none of them is known yet."""
    for tier in tiers:
        for target in tier.targets:
            try:
                return engines[target.name].capabilities().tool_format
            except ModelLoading:
                continue
    return None


def _kept(tier: Tier, refusals: Mapping[str, PennyweightError | None]) -> list[Kept]:
    """Those of the tier's models that can take the request, now or when they are well again."""
    if (max_stale := tier.settings.stale_if_error) is None:
        return []
    targets = (*tier.targets, *(one for one in tier.fallbacks if one not in tier.targets))
    well = [one for one in targets if (error := refusals[one.name]) is None or isinstance(error, Unavailable)]
    return [Kept(one, tier.name, max_stale) for one in well]


def _expected_usage(request: Request) -> Usage:
    most = request.sampling.max_tokens
    completion = (EXPECTED_TOKENS if most is None else most) * request.sampling.n
    return Usage(prompt_tokens=estimated_tokens(request.prompt), completion_tokens=completion)


def _refused(refusals: Sequence[PennyweightError | None]) -> PennyweightError:
    """The one error for a request that no model can take: what the client can change, if it can."""
    errors = [error for error in refusals if error is not None]
    told = "; ".join(dict.fromkeys(error.message for error in errors))
    if any(isinstance(error, Unavailable) for error in errors):
        return Unavailable(f"No model can take the request now: {told}.", retry_after=RETRY_SECONDS)
    first = errors[0]
    return type(first)(f"No model can take the request: {told}.", param=first.param)
