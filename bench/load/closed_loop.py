"""A closed loop of completions of an exact length, of which every one must succeed: what comparisons are measured with."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .endpoint import Endpoint
from .mode import ClosedLoop
from .request import PlannedRequest
from .run import run_load
from .sample import BadAnswer, Sample


async def run_closed_loop(
    endpoint: Endpoint, prompts: Sequence[list[int]], *, output_tokens: int, concurrency: int
) -> list[Sample]:
    """Complete every prompt, ``concurrency`` of them at a time; the samples in the order of the prompts.

    Raises BadAnswer when any answer is an error or has another length than its request asked for: a load of which a
    part failed is no measurement.
    """
    # A connection of its own for each request: llama.cpp's server closes a kept one after a stream without saying so.
    endpoint = msgspec.structs.replace(endpoint, keep_alive=False)
    requests = [
        PlannedRequest(
            body=endpoint.body(prompt, output_tokens), prompt_tokens=len(prompt), output_tokens=output_tokens
        )
        for prompt in prompts
    ]
    samples = await run_load(endpoint, requests, ClosedLoop(concurrency))
    for sample, prompt in zip(samples, prompts, strict=True):
        if sample.error is not None:
            raise BadAnswer(f"a request failed: {sample.error}, status {sample.status}: {sample.message}")
        expected = (len(prompt), output_tokens)
        if (sample.prompt_tokens, sample.output_tokens) != expected:
            raise BadAnswer(
                f"an answer of {sample.prompt_tokens} prompt and {sample.output_tokens} output tokens where "
                f"{expected[0]} and {expected[1]} were asked for"
            )
    return samples
