from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from aiohttp.test_utils import TestServer
from fakes.completion_server import CompletionServer

from pennyweight.bench.load.closed_loop import run_closed_loop
from pennyweight.bench.load.endpoint import Endpoint, find_endpoint
from pennyweight.bench.load.request import PlannedRequest
from pennyweight.bench.load.sample import BadAnswer, Sample

PROMPTS = [[number, 1, 2] for number in range(12)]


def planned(endpoint: Endpoint, prompts: list[list[int]], output_tokens: int) -> list[PlannedRequest]:
    return [
        PlannedRequest(
            body=endpoint.body(prompt, output_tokens), prompt_tokens=len(prompt), output_tokens=output_tokens
        )
        for prompt in prompts
    ]


async def run(endpoint: Endpoint, prompts: list[list[int]], output_tokens: int, concurrency: int) -> list[Sample]:
    return (await run_closed_loop(endpoint, planned(endpoint, prompts, output_tokens), concurrency)).samples


@asynccontextmanager
async def listening(server: CompletionServer) -> AsyncIterator[str]:
    async with TestServer(server.app()) as running:
        yield str(running.make_url("")).rstrip("/")


async def test_every_prompt_is_completed_by_so_many_clients_at_once() -> None:
    server = CompletionServer()
    async with listening(server) as url:
        samples = await run(await find_endpoint(url), PROMPTS, 4, 3)
    assert server.most_running == 3
    assert [body["prompt"] for body in server.bodies] == PROMPTS
    assert {(sample.prompt_tokens, sample.output_tokens) for sample in samples} == {(3, 4)}


async def test_tokens_are_timed_as_they_come() -> None:
    async with listening(CompletionServer()) as url:
        samples = await run(Endpoint(url, "scripted"), PROMPTS[:2], 5, 1)
    for sample in samples:
        assert len(sample.arrivals) == 5
        assert all(before < after for before, after in pairwise((sample.sent, *sample.arrivals)))
        assert sample.arrivals[-1] <= sample.ended
    assert samples[0].ended <= samples[1].sent


async def test_requests_are_greedy_and_of_an_exact_length() -> None:
    server = CompletionServer()
    async with listening(server) as url:
        await run(Endpoint(url, "scripted"), PROMPTS[:1], 2, 1)
    [body] = server.bodies
    assert (body["max_tokens"], body["ignore_eos"], body["temperature"], body["stream"]) == (2, True, 0, True)


@pytest.mark.parametrize(
    ("server", "model", "complaint"),
    [
        (CompletionServer(error=True), "scripted", "the engine has died"),
        (CompletionServer(short_by=1), "scripted", "3 prompt and 3 output tokens where 3 and 4 were asked for"),
        (CompletionServer(), "another", "status 404: .*no such model"),
    ],
)
async def test_a_load_that_failed_in_part_is_no_measurement(
    server: CompletionServer, model: str, complaint: str
) -> None:
    async with listening(server) as url:
        with pytest.raises(BadAnswer, match=complaint):
            await run(Endpoint(url, model), PROMPTS, 4, 2)


async def test_a_server_that_is_gone_is_no_measurement() -> None:
    async with listening(CompletionServer()) as url:
        pass
    with pytest.raises(BadAnswer, match="lists no model"):
        await find_endpoint(url)
    with pytest.raises(BadAnswer, match="a request failed"):
        await run(Endpoint(url, "scripted"), PROMPTS, 4, 2)
