"""How requests are run for a call: what an observer is told, and how engines are left whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fakes.api_client import answer_to, ask, make_call
from fakes.scripted_engine import ScriptedEngine, says

from pennyweight.server.api.chat import create_chat_completion
from pennyweight.server.api.completions import create_completion
from pennyweight.server.api.exchange import Endpoint, StreamAnswer
from pennyweight.server.errors import EngineDead, EngineFailed, Overloaded
from pennyweight.server.types import Delta, Event, Finished, Request, Started

CHAT: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]}
PROMPTS: dict[str, Any] = {"model": "scripted", "prompt": ["a", "b", "c"]}
CALLS: list[tuple[Endpoint, dict[str, Any], int]] = [
    (create_chat_completion, CHAT, 1),
    (create_completion, {"model": "scripted", "prompt": "a"}, 1),
    (create_completion, PROMPTS, 3),
]


class Notes:
    """An observer that writes down what it is told, by request."""

    def __init__(self) -> None:
        self.of: dict[str, list[str]] = {}
        self._starts = asyncio.Semaphore(0)

    def submitted(self, request: Request) -> None:
        assert request.id not in self.of
        self.of[request.id] = ["submitted"]

    def started(self, request: Request, started: Started) -> None:
        self.of[request.id].append("started")
        self._starts.release()

    async def until_started(self, count: int) -> None:
        for _ in range(count):
            await self._starts.acquire()

    def delta(self, request: Request, delta: Delta) -> None:
        self.of[request.id].append("delta")

    def finished(self, request: Request, finished: Finished) -> None:
        self.of[request.id].append("finished")

    def failed(self, request: Request, error: BaseException) -> None:
        self.of[request.id].append(f"failed: {type(error).__name__}")

    def abandoned(self, request: Request) -> None:
        self.of[request.id].append("abandoned")


@pytest.mark.parametrize(("endpoint", "body", "count"), CALLS)
@pytest.mark.parametrize("stream", [False, True])
async def test_observer_is_told_of_a_whole_answer(
    endpoint: Endpoint, body: dict[str, Any], count: int, stream: bool
) -> None:
    notes, engine = Notes(), ScriptedEngine()
    await ask(endpoint, {**body, "stream": stream}, engine, observer=notes)
    assert list(notes.of.values()) == [["submitted", "started", "delta", "delta", "delta", "finished"]] * count
    assert all(left.whole and not left.closed for left in engine.left)


@pytest.mark.parametrize(("endpoint", "body", "count"), CALLS)
async def test_observer_is_told_of_a_refusal(endpoint: Endpoint, body: dict[str, Any], count: int) -> None:
    notes = Notes()
    engine = ScriptedEngine(refusal=lambda request: Overloaded("Full."))
    assert (await ask(endpoint, body, engine, observer=notes)).status == 429
    ends = sorted(told[-1] for told in notes.of.values())
    assert ends[-1] == "failed: Overloaded"
    assert all(told[-1] in ("failed: Overloaded", "abandoned") for told in notes.of.values())


async def test_observer_is_told_of_an_error_after_the_status_was_sent() -> None:
    notes = Notes()
    engine = ScriptedEngine(lambda request: [*says("a")[:1], EngineDead("Gone.")])
    assert (await ask(create_chat_completion, {**CHAT, "stream": True}, engine, observer=notes)).status == 200
    assert notes.of == {"r1": ["submitted", "started", "delta", "failed: EngineDead"]}


async def test_a_call_that_is_not_understood_is_not_submitted() -> None:
    notes = Notes()
    assert (await ask(create_chat_completion, {**CHAT, "n": "x"}, observer=notes)).status == 400
    assert notes.of == {}


@pytest.mark.parametrize(("endpoint", "body", "count"), CALLS)
@pytest.mark.parametrize("is_read", [False, True])
async def test_closing_a_stream_cancels_the_work(
    endpoint: Endpoint, body: dict[str, Any], count: int, is_read: bool
) -> None:
    notes, engine = Notes(), ScriptedEngine(lambda request: [*says("a")[:1], asyncio.Event()])
    answer = await endpoint(make_call({**body, "stream": True}, engine, observer=notes))
    assert isinstance(answer, StreamAnswer)
    if is_read:
        await anext(answer.chunks)
    await answer.chunks.aclose()
    assert [left.closed for left in engine.left] == [True] * count
    assert all(told[-1] == "abandoned" for told in notes.of.values())


@pytest.mark.parametrize(("endpoint", "body", "count"), CALLS)
@pytest.mark.parametrize("stream", [False, True])
async def test_cancelling_a_call_cancels_the_work(
    endpoint: Endpoint, body: dict[str, Any], count: int, stream: bool
) -> None:
    notes, engine = Notes(), ScriptedEngine(lambda request: [asyncio.Event()])
    task = asyncio.create_task(answer_to(endpoint, make_call({**body, "stream": stream}, engine, observer=notes)))
    await notes.until_started(count)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [left.closed for left in engine.left] == [True] * count
    assert all(told[-1] == "abandoned" for told in notes.of.values())


@pytest.mark.parametrize(("endpoint", "body", "count"), CALLS)
@pytest.mark.parametrize("stream", [False, True])
async def test_answer_that_just_ends_is_an_error(
    endpoint: Endpoint, body: dict[str, Any], count: int, stream: bool
) -> None:
    class Breaking(ScriptedEngine):
        async def generate(self, request: Request) -> AsyncGenerator[Event]:
            async for event in super().generate(request):
                if not isinstance(event, Finished):
                    yield event

    reply = await ask(endpoint, {**body, "stream": stream}, Breaking())
    assert reply.error["code"] == EngineFailed.code
    assert not reply.is_done
    assert reply.status == (200 if stream else 500)


async def test_slow_reader_holds_up_the_engines() -> None:
    """Of 1500 deltas only a few are taken before the reader asks for more."""
    notes, engine = Notes(), ScriptedEngine(lambda request: says(*"x" * 500))
    answer = await create_completion(make_call({**PROMPTS, "stream": True}, engine, observer=notes))
    assert isinstance(answer, StreamAnswer)
    await anext(answer.chunks)
    for _ in range(100):
        await asyncio.sleep(0)
    assert sum(map(len, notes.of.values())) < 50
    await answer.chunks.aclose()
