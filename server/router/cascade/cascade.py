"""Carries out a decision that has an escalation: the weaker tier answers, judges say of it, and the stronger answers where they are not sure."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from pennyweight.server.engines.base import Engine
from pennyweight.server.engines.features import Feature
from pennyweight.server.errors import DeadlineExceeded, ModelLoading, NotCached, PennyweightError, ShuttingDown
from pennyweight.server.router.chain import Chain, Tries, as_it_is, moves_on
from pennyweight.server.router.decision import Decision
from pennyweight.server.router.target import Target
from pennyweight.server.types import Delta, DroppedAnswer, Event, Request

from .judge import Judge, Verdict
from .whole_answer import WholeAnswer


@dataclass(frozen=True, slots=True)
class Escalation:
    """One answer was dropped for the stronger tier's: from which tier to which, and which judge was not sure."""

    weaker: str
    stronger: str
    judge: str


class Cascade:
    """Nothing of the weaker tier's answer is given before all of it is there and judged, in streams too.

    ``escalations`` counts the answers that were dropped.
    """

    def __init__(self, chain: Chain, engines: Mapping[str, Engine], judges: Sequence[Judge]) -> None:
        self._chain = chain
        self._engines = engines
        self.judges = tuple(judges)
        self._alternatives = max(judge.alternatives for judge in judges)
        self.escalations: Counter[Escalation] = Counter()

    async def generate(self, request: Request, decision: Decision, tries: Tries) -> AsyncGenerator[Event]:
        """The events of the answer that is given; its ``Started`` has the route, with what was dropped.

        An answer that was not sure enough is given all the same, flagged as degraded, when the stronger tier's own models don't answer.
        Raises what ``Chain.generate`` raises.
        """
        stronger = decision.escalation
        assert stronger is not None
        answer = await self._weaker_answer(request, decision, tries)
        if answer is None:
            async with aclosing(
                self._chain.generate(request, _because(stronger, "no answer of the weaker"), tries)
            ) as events:
                async for event in events:
                    yield event
            return
        judge, verdict = await self._judged(request, decision, answer)
        tries.dropped.extend(verdict.spent)
        if verdict.is_sure:
            for event in _given(answer, request, verdict.reason, tries):
                yield event
            return
        self.escalations[Escalation(decision.tier.name, stronger.tier.name, judge)] += 1
        spent = len(tries.dropped)
        tries.dropped.append(answer.dropped())
        # What the chain has met with before it had this answer is no reason to spare the stronger.
        tries.last = None
        own = dataclasses.replace(stronger, chain=stronger.chain[: stronger.num_own])
        own = _because(own, f"{verdict.reason}: escalated from {answer.model}")
        has_begun = False
        try:
            async with aclosing(self._chain.generate(request, own, tries)) as events:
                async for event in events:
                    has_begun = True
                    yield event
            return
        except PennyweightError as error:
            # Whatever the stronger finds wrong with the request, the weaker has answered it. But who wants a kept answer or none is not to be
            # given one that was found too weak.
            if has_begun or isinstance(error, NotCached | ShuttingDown | DeadlineExceeded):
                raise
        del tries.dropped[spent]
        for event in _given(
            answer, request, f"{verdict.reason}, but {stronger.tier.name} failed", tries, is_degraded=True
        ):
            yield event

    async def _weaker_answer(self, request: Request, decision: Decision, tries: Tries) -> WholeAnswer | None:
        """None when no model of the weaker tier answers. Raises what is no better elsewhere."""
        try:
            return await self._whole(request, decision, tries, self.with_logprobs)
        except PennyweightError as error:
            if not moves_on(error):
                raise
            return None

    async def _judged(self, request: Request, decision: Decision, answer: WholeAnswer) -> tuple[str, Verdict]:
        """The first judge that is not sure, by name, or what all of them say together."""

        async def ask(again: Request) -> WholeAnswer:
            target = next(one for one in decision.chain if one.name == answer.model)
            only = dataclasses.replace(decision, chain=(target,), num_own=1)
            return await self._whole(again, only, Tries(), as_it_is)

        reasons: list[str] = []
        spent: list[DroppedAnswer] = []
        for judge in self.judges:
            verdict = await judge.judge(request, answer, ask)
            if verdict is None:
                continue
            spent.extend(verdict.spent)
            if not verdict.is_sure:
                return judge.name, Verdict(False, verdict.reason, tuple(spent))
            reasons.append(verdict.reason)
        return "", Verdict(True, ", ".join(reasons) or "nothing to judge", tuple(spent))

    async def _whole(
        self, request: Request, decision: Decision, tries: Tries, asked: Callable[[Request, Target], Request]
    ) -> WholeAnswer:
        async with aclosing(self._chain.generate(request, decision, tries, asked=asked, is_held=True)) as events:
            return WholeAnswer([event async for event in events], request.sampling.n)

    def with_logprobs(self, request: Request, target: Target) -> Request:
        """The request with the logprobs that judges read, where the model can give them."""
        wanted = max(request.sampling.logprobs or 0, self._alternatives)
        try:
            can = Feature.LOGPROBS in self._engines[target.name].capabilities().features
        except ModelLoading:
            can = False
        if not self._alternatives or not can:
            return request
        return msgspec.structs.replace(request, sampling=msgspec.structs.replace(request.sampling, logprobs=wanted))


def _because(decision: Decision, reason: str) -> Decision:
    return dataclasses.replace(decision, choice=dataclasses.replace(decision.choice, reason=reason))


def _given(
    answer: WholeAnswer, request: Request, reason: str, tries: Tries, *, is_degraded: bool = False
) -> list[Event]:
    """The answer's events with the reason why it is given, and without what only judges asked for."""
    route = msgspec.structs.replace(
        answer.route, reason=reason, is_degraded=is_degraded, failed=tuple(tries.failed), dropped=tuple(tries.dropped)
    )
    started = msgspec.structs.replace(answer.started, route=route)
    return [started, *(as_asked(delta, request.sampling.logprobs) for delta in answer.deltas), answer.finished]


def as_asked(delta: Delta, logprobs: int | None) -> Delta:
    """The delta with as many alternatives as the client asked for, None for no logprobs."""
    if not delta.logprobs:
        return delta
    if logprobs is None:
        return msgspec.structs.replace(delta, logprobs=())
    cut = tuple(msgspec.structs.replace(one, top=one.top[:logprobs]) for one in delta.logprobs)
    return msgspec.structs.replace(delta, logprobs=cut)
