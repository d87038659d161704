"""The same prompt over and over on one server, at random moments among other work, with every generation counted."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from pennyweight.bench.load.sample import BadAnswer
from pennyweight.bench.peers.counters import counters_of
from pennyweight.bench.peers.process import running
from pennyweight.bench.peers.session import session_of

from .answer import Digest, digest_of
from .variant import MODEL, Variant

PATH = "/v1/completions"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``concurrency`` completions of ``prompt`` are under way at most, of ``tokens`` each, beside up to ``background`` others whose
    prompts are drawn from ``words`` and which differ in length, number and when they come, by ``seed``. ``mode`` is asked of the server.
    """

    prompt: str
    tokens: int
    concurrency: int
    background: int
    words: Sequence[str]
    mode: str
    seed: int


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What one server gave. ``generations`` were counted by its engine, those of the background among them; ``preemptions`` too."""

    variant: Variant
    mode: str
    fingerprint: str
    digests: list[Digest]
    background: int
    generations: int
    generated_tokens: int
    preemptions: int


async def measure(variant: Variant, count: int, plan: Plan, on_done: Callable[[int], None]) -> Measured:
    """``count`` completions on a server that is started for them. Raises PeerFailed."""
    async with running(variant.serve) as server, session_of(server.url) as session:
        before = await counters_of(session)
        fingerprints: set[str] = set()
        async with _background(session, plan) as others:
            digests = await _completions(session, count, plan, fingerprints, on_done)
        after = await counters_of(session)
    if len(fingerprints) != 1:
        raise BadAnswer(f"{len(fingerprints)} system fingerprints of one server")
    told = {name: round(after.get(name, 0.0) - before.get(name, 0.0)) for name in after}
    found = Measured(
        variant=variant,
        mode=plan.mode,
        fingerprint=fingerprints.pop(),
        digests=digests,
        background=others.answered,
        generations=told.get("request_success_total", 0),
        generated_tokens=told.get("engine_tokens_total", 0),
        preemptions=told.get("num_preemptions_total", 0),
    )
    if found.generations < count + others.answered or found.generated_tokens < count * (plan.tokens - 1):
        raise BadAnswer(
            f"the engine counted {found.generations} generations and {found.generated_tokens} tokens for {count} answers of "
            f"{plan.tokens}: some were not generated"
        )
    return found


async def _completions(
    session: aiohttp.ClientSession, count: int, plan: Plan, fingerprints: set[str], on_done: Callable[[int], None]
) -> list[Digest]:
    places = asyncio.Semaphore(plan.concurrency)
    pauses = random.Random(f"{plan.seed} pauses")
    found: list[Digest] = []

    async def one(pause: float) -> None:
        async with places:
            # So that they are not all at the same token of the same batch.
            await asyncio.sleep(pause)
            body = completion_body(plan.prompt, plan.tokens) | {"return_token_ids": True, "logits_hashes": True}
            answer = await ask(session, body | {"deterministic": plan.mode})
        fingerprints.add(answer["system_fingerprint"])
        found.append(digest_of(answer, plan.tokens))
        on_done(len(found))

    tasks = [asyncio.create_task(one(pauses.expovariate(1 / 0.05))) for _ in range(count)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    return found


class _Others:
    """The work beside: how much of it has been done."""

    def __init__(self) -> None:
        self.answered = 0


@asynccontextmanager
async def _background(session: aiohttp.ClientSession, plan: Plan) -> AsyncIterator[_Others]:
    """Work beside what is in the block. What is under way at its end comes to its end first, so that all of it is counted."""
    others, is_over = _Others(), False

    async def client(number: int) -> None:
        draw = random.Random(f"{plan.seed} {number}")
        while not is_over:
            prompt = " ".join(draw.choices(plan.words, k=draw.randint(1, 300)))
            await ask(session, completion_body(prompt, draw.randint(1, 80)) | {"temperature": draw.choice((0, 1))})
            others.answered += 1
            # Sometimes there are few, sometimes all at once.
            await asyncio.sleep(draw.expovariate(1 / 0.3))

    tasks = [asyncio.create_task(client(number)) for number in range(plan.background)]
    try:
        yield others
        is_over = True
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


def completion_body(prompt: str, tokens: int) -> dict[str, object]:
    """A greedy request for just so many tokens."""
    return {"model": MODEL, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}


async def ask(session: aiohttp.ClientSession, body: dict[str, object]) -> dict[str, Any]:
    """The answer to a completion. Raises BadAnswer."""
    try:
        async with session.post(PATH, json=body) as response:
            if response.status != 200:
                raise BadAnswer(f"status {response.status}: {(await response.text())[:300]}")
            answer: dict[str, Any] = await response.json()
            return answer
    except (aiohttp.ClientError, TimeoutError) as error:
        raise BadAnswer(f"a request failed: {error!r}") from error
