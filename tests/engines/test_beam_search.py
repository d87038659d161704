"""Beam search through the official client: on the engine that has it, and by its name from those that don't."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from fakes.server_process import ServerProcess
from openai.types.chat import ChatCompletion

from pennyweight.server.engines.features import Feature

pytestmark = pytest.mark.asyncio(loop_scope="package")

QUESTION: Any = [{"role": "user", "content": "Name a colour, and say why you like it."}]


async def search(client: openai.AsyncOpenAI, model: str, n: int, max_tokens: int = 12, **extra: Any) -> ChatCompletion:
    # `cache` off: it is the engine that is to find the same again.
    body = {"use_beam_search": True, "cache": False} | extra
    return await client.chat.completions.create(
        model=model, messages=QUESTION, n=n, max_tokens=max_tokens, extra_body=body
    )


def answers_of(found: ChatCompletion) -> list[tuple[str | None, float]]:
    return [(one.message.content, one.score) for one in found.choices]  # type: ignore[attr-defined]


@pytest.mark.needs(Feature.BEAM_SEARCH)
async def test_the_best_comes_first_and_comes_again(client: openai.AsyncOpenAI, model: str) -> None:
    alone = answers_of(await search(client, model, 4))
    scores = [score for _, score in alone]
    assert scores == sorted(scores, reverse=True)
    assert len({text for text, _ in alone}) == 4
    others = [
        client.chat.completions.create(model=model, messages=QUESTION, max_tokens=12, seed=seed) for seed in range(3)
    ]
    *_, again, narrow = await asyncio.gather(
        *others, search(client, model, 4, seed=5, deterministic="bitwise"), search(client, model, 1, best_of=4)
    )
    assert answers_of(again) == alone
    assert answers_of(narrow) == alone[:1]


@pytest.mark.needs(Feature.BEAM_SEARCH)
async def test_one_beam_answers_as_greedy_does(client: openai.AsyncOpenAI, model: str) -> None:
    found = await search(client, model, 1)
    greedy = await client.chat.completions.create(model=model, messages=QUESTION, max_tokens=12, temperature=0)
    assert found.choices[0].message.content == greedy.choices[0].message.content
    assert found.usage is not None
    assert greedy.usage is not None
    assert found.usage.completion_tokens == greedy.usage.completion_tokens


@pytest.mark.needs(Feature.BEAM_SEARCH, Feature.LOGITS_HASHES)
async def test_each_token_of_a_search_has_its_hash(client: openai.AsyncOpenAI, model: str) -> None:
    found = await search(client, model, 3, return_token_ids=True, logits_hashes=True)
    told = [(one.token_ids, one.logits_hashes) for one in found.choices]  # type: ignore[attr-defined]
    assert all(len(token_ids) == len(hashes) > 0 for token_ids, hashes in told)
    # What they begin with in common was chosen from the same logits.
    assert len({hashes[0] for _, hashes in told}) == 1


@pytest.mark.needs(Feature.BEAM_SEARCH)
async def test_a_client_that_leaves_frees_the_engine(
    client: openai.AsyncOpenAI, server: ServerProcess, model: str
) -> None:
    asked = asyncio.create_task(search(client, model, 4, 4000, ignore_eos=True))
    while await server.metric("num_requests_running") < 4:  # noqa: ASYNC110 (a state of another process has no event)
        await asyncio.sleep(0.02)
    asked.cancel()
    async with asyncio.timeout(5):
        while await server.metric("num_requests_running"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await server.metric("kv_cache_usage_perc") == 0


async def test_engines_without_it_refuse_it_by_its_name(client: openai.AsyncOpenAI, model: str, engine: str) -> None:
    if engine == "native":
        pytest.skip("it has beam search")
    with pytest.raises(openai.BadRequestError) as refused:
        await search(client, model, 2)
    assert (refused.value.param, refused.value.code) == ("use_beam_search", "unsupported_parameter")
