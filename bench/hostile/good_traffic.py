"""Traffic of clients who do nothing wrong: streamed chats, every tenth with a schema, at a steady rate whatever comes back."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

QUESTIONS = (
    "What is the capital of {}?",
    "Tell me in two sentences how people live in {}.",
    "Which language is spoken in {}, and what is it like?",
    "I travel to {} next week. What should I pack, and what should I see first?",
    "Write a short poem about {}.",
)
PLACES = ("France", "Peru", "Japan", "Kenya", "Norway", "Chile", "India", "Canada", "Egypt", "Samoa")
SCHEMA = {
    "type": "object",
    "properties": {"place": {"type": "string", "maxLength": 20}, "warm": {"type": "boolean"}},
    "required": ["place", "warm"],
    "additionalProperties": False,
}
OUTPUT_TOKENS = 32


@dataclass(frozen=True, slots=True)
class GoodAnswer:
    """Seconds from the scheduled arrival to the first text and to the end; ``failure`` says what went wrong instead.

    ``lag`` is by how much the client itself was late to send.
    """

    ttft: float
    e2e: float
    lag: float
    failure: str | None = None


def good_bodies(model: str, count: int, seed: int, phase: int = 0) -> list[dict[str, Any]]:
    """Chats, each unlike the others, the same for the same seed and phase.

    Another phase has the same questions in the same order, each with a number of its own in front, so that nothing of a
    prompt is in the prefix cache from the phase before.
    """
    generator = random.Random(seed)
    numbers = random.Random(f"{seed} {phase}")
    bodies = []
    for number in range(count):
        question = generator.choice(QUESTIONS).format(generator.choice(PLACES))
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": f"({numbers.randrange(10**5, 10**6)}) {question}"}],
            "stream": True,
            "temperature": 0,
            "max_tokens": OUTPUT_TOKENS,
        }
        if number % 10 == 9:
            schema = {"name": "answer", "strict": True, "schema": SCHEMA}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        else:
            body["ignore_eos"] = True
        bodies.append(body)
    return bodies


async def measure_capacity(url: str, bodies: list[dict[str, Any]], *, concurrency: int) -> float:
    """Requests per second that a closed loop of so many clients gets answered. Raises RuntimeError when one fails."""
    waiting = iter(bodies)
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def client() -> None:
            for body in waiting:
                answer = await _ask(session, body, time.perf_counter())
                if answer.failure is not None:
                    raise RuntimeError(answer.failure)

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(concurrency)))
    return len(bodies) / (time.perf_counter() - began)


async def run_open_loop(url: str, bodies: list[dict[str, Any]], *, rate: float, seed: int) -> list[GoodAnswer]:
    """Send each at its time, ``rate`` a second in the mean at random intervals, and wait for all."""
    generator = random.Random(seed)
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:
        scheduled = time.perf_counter()
        asking = []
        for body in bodies:
            scheduled += generator.expovariate(rate)
            await asyncio.sleep(max(0.0, scheduled - time.perf_counter()))
            asking.append(asyncio.create_task(_ask(session, body, scheduled)))
        return list(await asyncio.gather(*asking))


async def _ask(session: aiohttp.ClientSession, body: dict[str, Any], scheduled: float) -> GoodAnswer:
    lag = time.perf_counter() - scheduled
    first: float | None = None
    chunks: list[bytes] = []
    failure = None
    try:
        async with session.post("/v1/chat/completions", json=body) as answer:
            async for chunk in answer.content.iter_any():
                if first is None and b'"content":"' in chunk:
                    first = time.perf_counter() - scheduled
                chunks.append(chunk)
            if answer.status != 200:
                failure = f"status {answer.status}: {b''.join(chunks)[:300]!r}"
    except (aiohttp.ClientError, TimeoutError) as error:
        failure = repr(error)
    e2e = time.perf_counter() - scheduled
    received = b"".join(chunks)
    if failure is None and not received.endswith(b"data: [DONE]\n\n"):
        failure = f"an unfinished stream: {json.dumps(received[-300:].decode(errors='replace'))}"
    return GoodAnswer(e2e if first is None else first, e2e, lag, failure)
