"""Hostile requests of every kind against the real server: each is refused as it should be, and good clients don't notice."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from fakes.server_process import MODEL, ServerProcess, server_process

from pennyweight.bench.hostile.client import complaint, send
from pennyweight.bench.hostile.requests import KINDS, Attack, attacks

pytestmark = pytest.mark.slow

EACH = 5
ATTACKERS = 12
GOOD = ["What is the capital of France?", "Count to ten.", "Name three colours.", "Why is the sky blue?"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[ServerProcess]:
    # Short enough that bombs which go off one after another don't make the test long.
    async with server_process(limits={"constraint_compile_seconds": 1.0}, engine={"dtype": "float32"}) as running:
        yield running


async def ask(server: ServerProcess, question: str) -> str:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": 24,
        "ignore_eos": True,
    }
    async with server.client.post("/v1/chat/completions", json=body) as answer:
        assert answer.status == 200, await answer.text()
        text: str = (await answer.json())["choices"][0]["message"]["content"]
    return text


async def attack_with(server: ServerProcess, waiting: list[Attack]) -> list[str]:
    """Send all that wait, ATTACKERS at a time; what is wrong with the replies."""
    complaints: list[str] = []

    async def attacker() -> None:
        while waiting:
            attack = waiting.pop()
            found = complaint(attack, await send(attack, *server.address))
            if found is not None:
                complaints.append(found)

    await asyncio.gather(*(attacker() for _ in range(ATTACKERS)))
    return complaints


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_hostile_request_is_refused_as_it_should_be(server: ServerProcess, kind: str) -> None:
    assert await attack_with(server, attacks(MODEL, each=EACH, seed=1, kinds=[kind])) == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.serial  # an attacker that gets no answer in time is a complaint
async def test_good_clients_get_the_same_answers_beside_all_of_them(server: ServerProcess) -> None:
    alone = {question: await ask(server, question) for question in GOOD}
    attacking = asyncio.create_task(attack_with(server, attacks(MODEL, each=EACH, seed=2)))

    async def good(question: str) -> int:
        for asked in itertools.count(1):
            assert await ask(server, question) == alone[question]
            if attacking.done():
                return asked
        raise AssertionError("unreachable")

    asked = await asyncio.gather(*(good(question) for question in GOOD))
    assert await attacking == []
    assert min(asked) > 2
    assert await server.metric("engine_restarts_total") == 0
    assert not [line for line in server.log if line.get("event") in ("unexpected error", "not JSON")]
    async with server.client.get("/ready") as answer:
        assert answer.status == 200
