"""Traffic of clients who do nothing wrong: streamed chats, every tenth with a schema, at a steady rate whatever comes back."""

from __future__ import annotations

import random
from typing import Any

from pennyweight.bench.load.endpoint import Endpoint
from pennyweight.bench.load.mode import ClosedLoop, OpenLoop
from pennyweight.bench.load.request import PlannedRequest
from pennyweight.bench.load.run import run_load
from pennyweight.bench.load.sample import Sample

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


async def measure_capacity(endpoint: Endpoint, bodies: list[dict[str, Any]], *, concurrency: int) -> float:
    """Requests per second that a closed loop of so many clients gets answered. Raises RuntimeError when one fails."""
    samples = await run_load(endpoint, [PlannedRequest(body=body) for body in bodies], ClosedLoop(concurrency))
    for sample in samples:
        if (found := failure(sample)) is not None:
            raise RuntimeError(found)
    return len(bodies) / max(sample.ended for sample in samples)


async def run_open_loop(endpoint: Endpoint, bodies: list[dict[str, Any]], *, rate: float, seed: int) -> list[Sample]:
    """Send each at its time, ``rate`` a second in the mean at random intervals, and wait for all."""
    mode = OpenLoop(rate)
    times = mode.times(len(bodies), seed)
    requests = [PlannedRequest(at=at, body=body) for at, body in zip(times, bodies, strict=True)]
    return await run_load(endpoint, requests, mode)


def failure(sample: Sample) -> str | None:
    """What went wrong with an answer, or None."""
    return None if sample.error is None else f"{sample.error}, status {sample.status}: {sample.message}"
