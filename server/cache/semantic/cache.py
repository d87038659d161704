"""The semantic cache as an engine around an engine, inside the exact one."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from pennyweight.server.cache.result import SEMANTIC
from pennyweight.server.cache.store import StoredAnswer
from pennyweight.server.engines.around import EngineAround
from pennyweight.server.engines.base import Engine
from pennyweight.server.types import Delta, Event, Finished, Request, Started

from .bound import Bound
from .entries import Entries, Entry
from .features import Neighbour
from .judge import Case, Judge
from .partition import Question, may_be_kept, question_of, text_of
from .policy import Decision, Policy, Verdict
from .versions import Looked, VersionedIndex
from .wording import wording_of

UNEMBEDDED = "unembedded"
UNKNOWN = "unknown"
# What may be counted of requests and of judgements.
RESULTS = (*Verdict, UNEMBEDDED)
JUDGEMENTS = ("right", "wrong", UNKNOWN)
# So many of the nearest are looked at, and none of a smaller cosine.
CANDIDATES = 8
# Answers that wait for a judge; beyond them none is judged or kept, so that a slow judge holds no memory.
MAX_JUDGING = 256


class SemanticCache:
    """One for a server. Tenants have policies of their own, and find entries of their own alone. All methods belong to the event loop's thread.

    ``results`` counts requests that took part by what was done for them; UNEMBEDDED are those that the embedder had no
    vector for, which are generated. ``judged`` counts what judges said of kept answers.
    """

    def __init__(
        self,
        entries: Entries,
        index: VersionedIndex,
        judge: Judge,
        bound: Bound,
        *,
        takes_part: Callable[[str], bool],
        least_cosine: float,
    ) -> None:
        """``takes_part`` says which tenants do."""
        self.entries = entries
        self.index = index
        self.judge = judge
        self.results: Counter[str] = Counter()
        self.judged: Counter[str] = Counter()
        self._bound = bound
        self._takes_part = takes_part
        self._least_cosine = least_cosine
        self._policies: dict[str, Policy] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def around(self, engine: Engine) -> Engine:
        """The engine behind this cache."""
        return SemanticEngine(engine, self)

    def question(self, engine: Engine, request: Request) -> Question | None:
        """What is compared of a request; None for one that takes no part."""
        return question_of(request, engine.capabilities()) if self._takes_part(request.tenant) else None

    async def generate(self, engine: Engine, request: Request, question: Question) -> AsyncGenerator[Event]:
        """A request's events: those of a kept answer, or of the engine, which are kept then and judge what was near."""
        if (same := self.entries.same(question.key)) is not None:
            self.results[Verdict.HIT] += 1
            for event in self._given(same, request, {"verdict": Verdict.HIT, "cosine": 1.0}):
                yield event
            return
        await self.index.remove(self.entries.expired())
        looked = await self.index.look(question.partition, question.text, CANDIDATES, self.entries)
        if looked is None:
            self.results[UNEMBEDDED] += 1
            async with aclosing(engine.generate(request)) as events:
                async for event in events:
                    yield event
            return
        policy = self._policies.setdefault(request.tenant, Policy(self._bound, self._least_cosine))
        if request.cache.max_stale is not None:
            async with aclosing(self._last_resort(engine, request, policy, question, looked)) as events:
                async for event in events:
                    yield event
            return
        decision, entry = self._decide(policy, question, looked)
        self.results[decision.verdict] += 1
        inputs = _inputs(policy, decision, looked) if request.is_recorded else {}
        if entry is not None and decision.verdict is Verdict.HIT:
            for event in self._given(entry, request, inputs):
                yield event
            return
        answer = None
        try:
            seen: list[Event] = []
            async with aclosing(engine.generate(request)) as events:
                async for event in events:
                    seen.append(event)
                    if isinstance(event, Finished):
                        answer = _whole(seen)
                    if inputs and isinstance(event, Started):
                        event = msgspec.structs.replace(event, inputs={**event.inputs, SEMANTIC: inputs})
                    yield event
        finally:
            if answer is not None and len(self._tasks) < MAX_JUDGING:
                self._start(self._take_in(policy, request, question, looked, answer, decision, entry))
            elif entry is not None:
                self._note(policy, decision, None)

    async def _last_resort(
        self, engine: Engine, request: Request, policy: Policy, question: Question, looked: Looked
    ) -> AsyncGenerator[Event]:
        """For a request that no model can answer: a kept answer that may be given, also where it would be audited now."""
        near = self._near(looked)
        place = policy.likely(wording_of(question.text), _neighbours(near))
        if place is not None:
            self.results[Verdict.HIT] += 1
            for event in self._given(near[place][0], request, {"verdict": "stale", "cosine": round(near[place][1], 6)}):
                yield event
            return
        async with aclosing(engine.generate(request)) as events:
            async for event in events:
                yield event

    async def settled(self) -> None:
        """Return when what was generated so far is judged and kept."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def purge(self, matches: Callable[[Entry], bool]) -> int:
        """Forget entries, also those that are being judged now; returns how many."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        gone = self.entries.drop(matches)
        await self.index.remove(gone)
        return len(gone)

    async def aclose(self) -> None:
        """End what is under way, and free the indexes."""
        for task in self._tasks:
            task.cancel()
        await self.settled()
        await self.index.aclose()

    @property
    def policies(self) -> Iterable[Policy]:
        """Those of the tenants that have asked something."""
        return self._policies.values()

    def _decide(self, policy: Policy, question: Question, looked: Looked) -> tuple[Decision, Entry | None]:
        near = self._near(looked)
        decision = policy.decide(question.key, wording_of(question.text), _neighbours(near))
        return decision, None if decision.place is None else near[decision.place][0]

    def _near(self, looked: Looked) -> list[tuple[Entry, float]]:
        """What was found near a question and is still there, nearest first, with its cosine."""
        found = [(self.entries.get(number), cosine) for number, cosine in looked.nearest]
        return [(entry, cosine) for entry, cosine in found if entry is not None]

    def _given(self, entry: Entry, request: Request, inputs: Mapping[str, Any]) -> Iterable[Event]:
        """A kept answer as this request's, with what that was decided from. What it says of its prompt is the other's; its usage is that of its generation."""
        answer = self.entries.give(entry)
        yield msgspec.structs.replace(
            answer.started,
            request_id=request.id,
            model=request.model,
            prompt_token_ids=(),
            prompt_text="",
            queue_seconds=None,
            cache=SEMANTIC,
            inputs={SEMANTIC: inputs} if request.is_recorded else {},
        )
        yield from answer.deltas
        yield answer.finished

    async def _keep(
        self, policy: Policy, tenant: str, question: Question, looked: Looked, answer: StoredAnswer
    ) -> Entry | None:
        entry, gone = self.entries.put(tenant, question, answer)
        await self.index.remove(gone)
        if entry is not None:
            policy.note(entry.wording)
            await self.index.add(entry, looked)
            if entry not in self.entries:  # it had to go while it was added
                await self.index.remove((entry,))
        return entry

    async def _judge(
        self, policy: Policy, decision: Decision, meant: Entry, question: Question, answer: StoredAnswer
    ) -> bool | None:
        case = Case(
            question=question.text,
            answer=text_of(answer),
            kept_question=meant.text,
            kept_answer=text_of(self.entries.give(meant)),
        )
        is_right = None
        # Of an operator's function, or a model that is not there, anything may come; nothing is learned then.
        with contextlib.suppress(Exception):
            is_right = await self.judge.is_right(case)
        self._note(policy, decision, is_right)
        return is_right

    async def _take_in(
        self,
        policy: Policy,
        request: Request,
        question: Question,
        looked: Looked,
        answer: StoredAnswer,
        decision: Decision,
        meant: Entry | None,
    ) -> None:
        """Keep an answer that was generated, and judge by it the one that was near."""
        entry = await self._keep(policy, request.tenant, question, looked, answer)
        if meant is not None and await self._judge(policy, decision, meant, question, answer) and entry is not None:
            entry.standing = meant.standing

    def _note(self, policy: Policy, decision: Decision, is_right: bool | None) -> None:
        if is_right is None:
            self.judged[UNKNOWN] += 1
            policy.unjudged(decision)
        else:
            self.judged["right" if is_right else "wrong"] += 1
            policy.learn(decision, is_right)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _inputs(policy: Policy, decision: Decision, looked: Looked) -> dict[str, Any]:
    """What was decided and from what, as JSON has it: the neighbour's cosine, the log-odds of its answer's being right, and from which on one
    is given."""
    cosines = [cosine for _, cosine in looked.nearest]
    return {
        "verdict": decision.verdict,
        "cosine": round(max(cosines), 6) if cosines else None,
        "log_odds": decision.odds if math.isfinite(decision.odds) else None,
        "threshold": policy.threshold if math.isfinite(policy.threshold) else None,
    }


def _neighbours(near: list[tuple[Entry, float]]) -> list[Neighbour]:
    return [Neighbour(cosine, entry.wording, entry.standing) for entry, cosine in near]


def _whole(events: list[Event]) -> StoredAnswer | None:
    """The answer of all its events, if it may be given again."""
    match events:
        case [Started() as started, *between, Finished() as finished]:
            answer = StoredAnswer(started, tuple(one for one in between if isinstance(one, Delta)), finished)
            return answer if may_be_kept(answer) else None
    return None


class SemanticEngine(EngineAround):
    """``engine`` behind ``cache``."""

    def __init__(self, engine: Engine, cache: SemanticCache) -> None:
        super().__init__(engine)
        self._cache = cache

    def generate(self, request: Request) -> AsyncGenerator[Event]:
        question = self._cache.question(self._engine, request)
        if question is None:
            return self._engine.generate(request)
        return self._cache.generate(self._engine, request, question)
