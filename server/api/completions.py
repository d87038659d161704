"""POST /v1/completions."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from pennyweight.server.engines.base import Engine
from pennyweight.server.engines.features import Feature
from pennyweight.server.errors import EngineFailed, UnsupportedParameter
from pennyweight.server.types import Delta, Finished, Request, Started, Usage

from .completion_answer import CompletionCollector, CompletionShape, CompletionStream, Echo
from .completion_request import CompletionRequest, to_requests
from .determinism import determinism_of
from .exchange import Answer, Call, Observer, StreamAnswer, json_answer
from .generation import merged, stream_answer
from .parameters import REFUSED_IN_COMPLETIONS
from .reading import read
from .routing import routing_of
from .token_fields import TokenFields


async def create_completion(call: Call) -> Answer | StreamAnswer:
    """Continue texts. Raises PennyweightError."""
    completion, headers = read(call, CompletionRequest, refused=REFUSED_IN_COMPLETIONS)
    deadline = call.deadline_within(completion.timeout)
    engine = await call.engine(completion.model, deadline)
    if completion.echo and Feature.ECHO not in engine.capabilities().features:
        # No engine hears of it: the prompt is put before the answer here, if the engine tells its text.
        raise UnsupportedParameter(f"The engine of {completion.model} does not support 'echo'.", param="echo")
    requests = to_requests(
        completion,
        call.settings.limits,
        request_id=call.request_id,
        arrival=call.arrival,
        tenant=call.tenant,
        cache=call.cache,
        routing=routing_of(call, completion),
        determinism=determinism_of(call, completion),
        deadline=deadline,
    )
    shape = CompletionShape(
        id=f"cmpl-{call.request_id}",
        created=int(time.time()),
        num_prompts=len(requests),
        n=requests[0].sampling.n,
        echo=bool(completion.echo),
        has_logprobs=completion.logprobs is not None,
        has_prompt_logprobs=completion.prompt_logprobs is not None,
        include_usage=bool(completion.stream_options and completion.stream_options.include_usage),
        tokens=TokenFields(requests[0].wants_token_ids, requests[0].hash_logits),
        is_recorded=call.recording is not None,
    )
    if completion.stream:
        return await stream_answer(_stream(engine, requests, call.observer, shape), headers)
    return json_answer(await _collect(engine, requests, call.observer, shape), headers=headers)


async def _collect(
    engine: Engine, requests: Sequence[Request], observer: Observer, shape: CompletionShape
) -> dict[str, object]:
    collector: CompletionCollector | None = None
    usages: list[Usage] = []
    async with aclosing(merged(engine, requests, observer)) as events:
        async for place, event in events:
            match event:
                case Started():
                    collector = collector or CompletionCollector(shape, event)
                    collector.start(place, await _echo(engine, event, shape))
                case Delta() if collector:
                    collector.add(place, event)
                case Finished():
                    usages.append(event.usage)
    if collector is None or len(usages) < len(requests):
        raise EngineFailed("The engine's answer ended before it was whole.")
    return collector.body(usages)


async def _stream(
    engine: Engine, requests: Sequence[Request], observer: Observer, shape: CompletionShape
) -> AsyncGenerator[bytes]:
    stream: CompletionStream | None = None
    # Chunks wait until every prompt has started, so that a prompt's refusal has its HTTP status, not an event among text.
    held: list[bytes] = []
    starting = len(requests)
    openings = [b""] * len(requests)
    usages: list[Usage] = []
    are_recorded = True if shape.is_recorded else None
    async with aclosing(merged(engine, requests, observer)) as events:
        async for place, event in events:
            match event:
                case Delta() if stream:
                    if chunk := stream.chunk(place, event):
                        held.append(openings[place] + chunk)
                        openings[place] = b""
                case Started():
                    starting -= 1
                    stream = stream or CompletionStream(shape, event)
                    openings[place] = stream.opening(place, await _echo(engine, event, shape))
                case Finished():
                    usages.append(event.usage)
                    are_recorded = are_recorded and bool(event.is_recorded)
            if held and not starting:
                yield b"".join(held)
                held.clear()
    if stream is None or len(usages) < len(requests):
        raise EngineFailed("The engine's answer ended before it was whole.")
    yield b"".join(openings) + stream.closing(usages, are_recorded)


async def _echo(engine: Engine, started: Started, shape: CompletionShape) -> Echo:
    """Nothing precedes the first token, so it has no logprob that would carry its text."""
    if not (shape.echo and shape.has_logprobs):
        return Echo(started)
    return Echo(started, await engine.detokenize(list(started.prompt_token_ids[:1])))
