"""Models tried one after the other, until one of them answers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

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
from pennyweight.server.types import Delta, DroppedAnswer, Event, Finished, Request, Route, Started

from .breaker import CircuitBreaker, Permit, Verdict, verdict
from .decision import Decision
from .router import RETRY_SECONDS, Router
from .target import Target


@dataclass(frozen=True, slots=True)
class Fallback:
    """One model was left for another: which, and the code of its error."""

    model: str
    code: str


@dataclass(slots=True)
class Tries:
    """What was tried for one request, over all decisions that are carried out for it: see ``Route``. ``last`` is the last error; ``has_failed`` says
    whether a model has failed, was busy or rests, and did not only refuse."""

    failed: list[tuple[str, str]] = field(default_factory=list)
    dropped: list[DroppedAnswer] = field(default_factory=list)
    last: PennyweightError | None = None
    has_failed: bool = False


def as_it_is(request: Request, target: Target) -> Request:
    """The request that any model is given: the client's own."""
    return request


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

    def begin(self) -> Tries:
        """A request has come: nothing was tried for it yet."""
        self._budget.request()
        return Tries()

    async def generate(
        self,
        request: Request,
        decision: Decision,
        tries: Tries,
        *,
        asked: Callable[[Request, Target], Request] = as_it_is,
        is_held: bool = False,
    ) -> AsyncGenerator[Event]:
        """The events of the first model that answers; its ``Started`` has the route.

        ``asked`` says what a model is asked for the request. With ``is_held`` nothing is yielded before an answer is whole, and so a model is
        left for the next also in the middle of its answer.

        Raises what the last one raised that was tried, and Unavailable when none could be.
        """
        for place, target in enumerate(decision.chain):
            permit = self._breakers[target.name].permit()
            if permit is None:
                tries.failed.append((target.name, "circuit_open"))
                tries.has_failed = True
                continue
            # Looking for a kept answer of another model costs nothing.
            if tries.last is not None and not isinstance(tries.last, NotCached) and not self._budget.take():
                permit.release()
                break
            route = Route(
                model=target.name,
                tier=decision.tier.name,
                policy=decision.policy,
                reason=decision.choice.reason,
                is_degraded=place >= decision.num_own,
                failed=tuple(tries.failed),
                dropped=tuple(tries.dropped),
            )
            has_begun = False
            try:
                attempt = self._attempt(asked(request, target), decision, target, permit, route)
                async with aclosing(_held(attempt) if is_held else attempt) as events:
                    async for event in events:
                        has_begun = True
                        yield event
                return
            except PennyweightError as error:
                if has_begun or not moves_on(error):
                    raise
                tries.last = error
                tries.has_failed |= verdict(error) is not Verdict.NEUTRAL
                tries.failed.append((target.name, error.code or error.type))
                self.fallbacks[Fallback(target.name, error.code or error.type)] += 1
        if tries.last is not None:
            raise tries.last
        names = ", ".join(name for name, _ in tries.failed)
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


async def _held(events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
    """The same events, once all of them are there."""
    async with aclosing(events):
        found = [event async for event in events]
    for event in found:
        yield event


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
