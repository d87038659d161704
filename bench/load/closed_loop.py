"""A closed loop of answers of an exact length, of which every one must succeed: what comparisons are measured with."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .endpoint import Endpoint
from .mode import ClosedLoop
from .progress import OnProgress
from .request import PlannedRequest
from .run import Load, drive
from .sample import BadAnswer

# What servers answer to a body that they can't take.
REFUSED = (400, 422)


async def run_closed_loop(
    endpoint: Endpoint,
    requests: Sequence[PlannedRequest],
    concurrency: int,
    *,
    processes: int = 0,
    on_progress: OnProgress | None = None,
) -> Load:
    """Send every request, ``concurrency`` of them at a time; the samples are in the order of the requests.

    Raises BadAnswer when any answer is an error or has another length than was planned (of prompts, where they are token
    ids: a chat's template adds to them): a load of which a part failed is no measurement.
    """
    # A connection of its own for each request: llama.cpp's server closes a kept one after a stream without saying so.
    endpoint = msgspec.structs.replace(endpoint, keep_alive=False)
    mode = ClosedLoop(concurrency)
    load = await drive(endpoint, requests, mode, processes=processes, on_progress=on_progress)
    for sample, request in zip(load.samples, requests, strict=True):
        if sample.error is not None:
            hint = ""
            if endpoint.api == "completions" and sample.status in REFUSED:
                hint = " (a server that takes no token ids can be measured by --endpoint chat)"
            raise BadAnswer(f"a request failed: {sample.error}, status {sample.status}: {sample.message}{hint}")
        found, planned = (sample.prompt_tokens, sample.output_tokens), (request.prompt_tokens, request.output_tokens)
        if endpoint.api == "chat":
            planned = (sample.prompt_tokens, request.output_tokens)
        if found != planned:
            raise BadAnswer(
                f"an answer of {found[0]} prompt and {found[1]} output tokens where "
                f"{planned[0]} and {planned[1]} were asked for"
            )
    return load
