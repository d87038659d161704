"""A closed loop: so many clients, each of which sends its next request when its last answer has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from .sample import BadAnswer, Sample, read_sample

# One request that takes longer than that has met a server that hangs.
REQUEST_SECONDS = 300


@dataclass(frozen=True)
class Endpoint:
    """Where completions are asked for, and of which model."""

    url: str
    model: str

    def body(self, prompt: list[int], output_tokens: int) -> dict[str, Any]:
        """A greedy completion of an exact length, streamed."""
        return {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": output_tokens,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }


async def find_endpoint(url: str) -> Endpoint:
    """The endpoint of the first model that the server at ``url`` lists. Raises BadAnswer."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/v1/models") as response:
            return Endpoint(url, (await response.json())["data"][0]["id"])
    except (aiohttp.ClientError, LookupError, TypeError, ValueError) as error:
        raise BadAnswer(f"{url}/v1/models lists no model: {error!r}") from error


async def run_closed_loop(
    endpoint: Endpoint, prompts: Sequence[list[int]], *, output_tokens: int, concurrency: int
) -> list[Sample]:
    """Complete every prompt, ``concurrency`` of them at a time; the samples in the order in which they were sent.

    Raises BadAnswer when any answer is an error or has another length than its request asked for: a load of which a
    part failed is no measurement.
    """
    waiting = iter(enumerate(prompts))
    raw: list[tuple[float, list[tuple[float, bytes]], float] | None] = [None] * len(prompts)
    # A connection of its own for each request: llama.cpp's server closes a kept one after a stream without saying so.
    connector = aiohttp.TCPConnector(limit=concurrency, force_close=True)
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def client(queue: Iterator[tuple[int, list[int]]]) -> None:
            for index, prompt in queue:
                raw[index] = await _complete(session, endpoint, endpoint.body(prompt, output_tokens))

        try:
            async with asyncio.TaskGroup() as clients:
                for _ in range(min(concurrency, len(prompts))):
                    clients.create_task(client(waiting))
        except* (BadAnswer, aiohttp.ClientError, TimeoutError) as errors:
            raise BadAnswer(f"a request failed: {errors.exceptions[0]!r}") from errors
    samples = [read_sample(*one) for one in raw if one is not None]
    for sample, prompt in zip(samples, prompts, strict=True):
        expected = (len(prompt), output_tokens)
        if (sample.prompt_tokens, sample.output_tokens) != expected:
            raise BadAnswer(
                f"an answer of {sample.prompt_tokens} prompt and {sample.output_tokens} output tokens where "
                f"{expected[0]} and {expected[1]} were asked for"
            )
    return samples


async def _complete(
    session: aiohttp.ClientSession, endpoint: Endpoint, body: dict[str, Any]
) -> tuple[float, list[tuple[float, bytes]], float]:
    """What ``read_sample`` takes: when the request was sent, what was read when, and when the answer ended."""
    reads: list[tuple[float, bytes]] = []
    sent = time.perf_counter()
    async with session.post(f"{endpoint.url}/v1/completions", json=body) as response:
        if response.status != 200:
            raise BadAnswer(f"status {response.status}: {(await response.text())[:500]}")
        async for chunk in response.content.iter_any():
            reads.append((time.perf_counter(), chunk))
    return sent, reads, time.perf_counter()
