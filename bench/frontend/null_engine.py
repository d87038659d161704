"""An engine that computes nothing, so that what remains to be measured is the server around it."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import AsyncGenerator

import msgspec

from pennyweight.server.engines.base import Capabilities, EngineStats, Health, HealthState
from pennyweight.server.errors import InvalidRequest
from pennyweight.server.types import (
    Delta,
    Embeddings,
    EmbedRequest,
    Event,
    Finished,
    FinishReason,
    Prompt,
    Request,
    Started,
    Usage,
)

from .names import PROMPT_TOKENS, WORDS

DEFAULT_TOKENS = 16


@functools.cache
def _deltas(count: int) -> tuple[Delta, ...]:
    """An answer's deltas, made once: what making them costs is an engine's own."""
    words = itertools.islice(itertools.cycle(WORDS), count)
    *more, last = (Delta(index=0, text=word, token_ids=(position,)) for position, word in enumerate(words))
    return *more, msgspec.structs.replace(last, finish_reason=FinishReason.LENGTH)


class NullEngine:
    """Implements Engine. Answers ``max_tokens`` times the same few words, all of them at once or one at each step.

    With a ``step`` (seconds) every answer that is under way gets one token at each tick of one clock, as a batch that is
    decoded gives them: each is then written on its own. Without one the tokens come without any wait between them.
    """

    def __init__(self, name: str, *, step: float = 0.0) -> None:
        self._step = step
        self._waiting: list[asyncio.Future[None]] = []
        self._running = 0
        self._capabilities = Capabilities(
            model=name,
            engine="null",
            fingerprint="fp_null",
            max_model_len=1 << 20,
            vocab_size=1 << 20,
            tool_format="hermes",
        )

    async def start(self) -> None:
        """Nothing is to be loaded."""

    async def generate(self, request: Request) -> AsyncGenerator[Event]:
        count = request.sampling.max_tokens or DEFAULT_TOKENS
        self._running += 1
        try:
            yield Started(request_id=request.id, model=request.model, fingerprint="fp_null", queue_seconds=0.0)
            for delta in _deltas(count):
                if self._step:
                    await self._next_step()
                yield delta
            yield Finished(usage=Usage(prompt_tokens=PROMPT_TOKENS, completion_tokens=count))
        finally:
            self._running -= 1

    async def embed(self, request: EmbedRequest) -> Embeddings:
        raise InvalidRequest("The null engine makes no embeddings.", param="model")

    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def tokenize(self, prompt: Prompt) -> list[int]:
        return list(range(PROMPT_TOKENS))

    async def detokenize(self, token_ids: list[int]) -> str:
        return "".join(WORDS[token_id % len(WORDS)] for token_id in token_ids)

    def health(self) -> Health:
        return Health(state=HealthState.READY)

    def stats(self) -> EngineStats:
        return EngineStats(running=self._running)

    async def aclose(self) -> None:
        """Nothing is held."""

    async def _next_step(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_later(self._step, self._tick)
        future = loop.create_future()
        self._waiting.append(future)
        await future

    def _tick(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():  # else cancelled: its client went away
                future.set_result(None)
