"""The last resort: what a model has answered to the same before, when none answers now (stale-if-error, RFC 5861)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import aclosing

import msgspec

from pennyweight.server.cache.result import GIVEN_AGAIN, CacheResult
from pennyweight.server.engines.base import Engine
from pennyweight.server.errors import DeadlineExceeded, InvalidRequest, NotCached, PennyweightError, ShuttingDown
from pennyweight.server.types import CacheControl, Delta, Event, Request, Route, Started

from .breaker import Verdict, verdict
from .cascade.cascade import Cascade, as_asked
from .chain import Tries
from .decision import Decision, Kept


class KeptAnswers:
    """Looks for answers in the caches before the models, which are not asked for anything."""

    def __init__(self, engine_of: Callable[[str], Engine], cascade: Cascade) -> None:
        self._engine_of = engine_of
        self._cascade = cascade

    async def find(self, request: Request, decision: Decision, tries: Tries) -> list[Event] | None:
        """The first kept answer of the models that the decision names, with its route; None where there is none that the client takes."""
        allowed = _allowed(request.cache)
        if allowed is None:
            return None
        for kept in decision.kept:
            control = CacheControl(
                wanted=request.cache.wanted, only_if_cached=True, max_stale=min(kept.max_stale, allowed)
            )
            for form in self._forms(request, kept, decision):
                asked = msgspec.structs.replace(form, model=kept.target.name, routing=None, cache=control)
                if (events := await self._look(asked)) is not None:
                    return [_given(event, request, kept, decision, tries) for event in events]
        return None

    def _forms(self, request: Request, kept: Kept, decision: Decision) -> Iterator[Request]:
        """As the model was asked before: as the client asks or, to be judged, with logprobs."""
        yield request
        if (
            decision.policy == "cascade"
            and (judged := self._cascade.with_logprobs(request, kept.target)) is not request
        ):
            yield judged

    async def _look(self, asked: Request) -> list[Event] | None:
        found: list[Event] = []
        try:
            async with aclosing(self._engine_of(asked.model).generate(asked)) as events:
                async for event in events:
                    if isinstance(event, Started) and event.cache not in GIVEN_AGAIN:
                        return None
                    found.append(event)
        except PennyweightError:
            return None
        return found


def is_failure(error: PennyweightError, tries: Tries) -> bool:
    """Whether a request ends in an error that is not its own, nor its client's haste: a model failed, was busy, or rests."""
    if isinstance(error, InvalidRequest | NotCached | ShuttingDown | DeadlineExceeded):
        return False
    return tries.has_failed or verdict(error) is not Verdict.NEUTRAL


def _allowed(asked: CacheControl) -> float | None:
    """How many seconds beyond its time the client takes an answer; None where it takes none that was kept."""
    if asked.no_store or asked.no_cache:
        return None
    if asked.stale_if_error is not None:
        return asked.stale_if_error
    # Who sets an age takes nothing that is too old, unless it says so.
    return math.inf if asked.max_age is None else None


def _given(event: Event, request: Request, kept: Kept, decision: Decision, tries: Tries) -> Event:
    match event:
        case Started():
            route = Route(
                model=kept.target.name,
                tier=kept.tier,
                policy=decision.policy,
                reason="no model answered: a kept answer",
                is_degraded=event.cache != CacheResult.HIT,
                failed=tuple(tries.failed),
                dropped=tuple(tries.dropped),
            )
            return msgspec.structs.replace(event, request_id=request.id, route=route)
        case Delta():
            return as_asked(event, request.sampling.logprobs)
        case _:
            return event
