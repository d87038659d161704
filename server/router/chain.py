"""Models tried one after the other, until one of them answers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from pennyweight.server.cache.result import GIVEN_AGAIN
from pennyweight.server.engines.base import Engine
from pennyweight.server.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    NotCached,
    PennyweightError,
    ShuttingDown,
    Unavailable,
    UpstreamTimeout,
)
from pennyweight.server.retry_budget import RetryBudget
from pennyweight.server.types import Delta, Event, Finished, Request, Route, Started

from .breaker import CircuitBreaker, Permit
from .decision import Decision
from .router import RETRY_SECONDS, Router
from .target import Target


@dataclass(frozen=True, slots=True)
class Fallback:
    """One model was left for another: which, and the code of its error."""

    model: str
    code: str


class Chain:
    """Carries decisions out. A model is left for the next as long as nothing of its answer has been yielded.

    Second tries are within ``budget``, which all requests share; a model whose breaker is open is passed over, which costs nothing.
    ``fallbacks`` counts the models that were left.
    """

    def __init__(
        self,
        router: Router,
        engine_of: Callable[[str], Engine],
        breakers: Mapping[str, CircuitBreaker],
        budget: RetryBudget,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router = router
        self._engine_of = engine_of
        self._breakers = breakers
        self._budget = budget
        self._clock = clock
        self.fallbacks: Counter[Fallback] = Counter()

    async def generate(self, request: Request, decision: Decision) -> AsyncGenerator[Event]:
        """The events of the first model that answers; its ``Started`` has the route.

        Raises what the last one raised that was tried, and Unavailable when none could be.
        """
        self._budget.request()
        failed: list[tuple[str, str]] = []
        last: PennyweightError | None = None
        for place, target in enumerate(decision.chain):
            permit = self._breakers[target.name].permit()
            if permit is None:
                failed.append((target.name, "circuit_open"))
                continue
            # Looking for a kept answer of another model costs nothing.
            if last is not None and not isinstance(last, NotCached) and not self._budget.take():
                permit.release()
                break
            route = Route(
                model=target.name,
                tier=decision.tier.name,
                policy=decision.policy,
                reason=decision.choice.reason,
                is_degraded=place >= decision.num_own,
                failed=tuple(failed),
            )
            has_begun = False
            try:
                async with aclosing(self._attempt(request, decision, target, permit, route)) as events:
                    async for event in events:
                        has_begun = True
                        yield event
                return
            except PennyweightError as error:
                if has_begun or not moves_on(error):
                    raise
                last = error
                failed.append((target.name, error.code or error.type))
                self.fallbacks[Fallback(target.name, error.code or error.type)] += 1
        if last is not None:
            raise last
        names = ", ".join(name for name, _ in failed)
        raise Unavailable(
            f"The models of the tier {decision.tier.name} have failed and rest for a while: {names}.",
            retry_after=RETRY_SECONDS,
        )

    async def _attempt(
        self, request: Request, decision: Decision, target: Target, permit: Permit, route: Route
    ) -> AsyncGenerator[Event]:
        """One model's events, none before the first of its answer is there."""
        latency = self._router.latency[target.name]
        asked = msgspec.structs.replace(
            decision.tier.asked(request),
            model=target.name,
            routing=None,
            priority=request.priority or decision.tier.settings.priority,
        )
        patience = decision.tier.settings.first_token_timeout
        began, first = self._clock(), None
        latency.under_way += 1
        try:
            async with aclosing(self._engine_of(target.name).generate(asked)) as events:
                try:
                    async with asyncio.timeout(patience):
                        opening, first_event = await _opening(events)
                except TimeoutError:
                    raise UpstreamTimeout(f"{target.name} gave no token within {patience:g} seconds.") from None
                first = self._clock()
                # What the response cache gives says nothing of the model.
                is_asked = opening.cache not in GIVEN_AGAIN
                if is_asked:
                    latency.first_token(first - began)
                self._router.affinity.answered(request, target.name)
                yield msgspec.structs.replace(opening, route=route)
                event: Event | None = first_event
                while event is not None:
                    if isinstance(event, Finished):
                        if is_asked:
                            latency.finished(self._clock() - first, event.usage.completion_tokens)
                            permit.succeeded()
                        yield event
                        return
                    yield event
                    event = await anext(events, None)
                raise EngineFailed("The engine's answer ended before it was whole.")
        except PennyweightError as error:
            permit.failed(error)
            raise
        finally:
            latency.under_way -= 1
            # For who left, or was cancelled: nothing is known of the model then.
            permit.release()


async def _opening(events: AsyncGenerator[Event]) -> tuple[Started, Delta | Finished]:
    """The first two events. Raises EngineFailed where they are not those of an answer."""
    started, event = await anext(events, None), await anext(events, None)
    if not isinstance(started, Started) or not isinstance(event, Delta | Finished):
        raise EngineFailed("The engine's answer ended before it was whole.")
    return started, event


def moves_on(error: PennyweightError) -> bool:
    """Whether another model may do better. What is wrong with the request itself is wrong everywhere, but for its length."""
    if isinstance(error, InvalidRequest):
        return isinstance(error, ContextLengthExceeded)
    return not isinstance(error, ShuttingDown | DeadlineExceeded)
