"""An engine of a capacity that is known: so many places, and so long for each answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

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

NAME = "fixed"
DEFAULT_TOKENS = 16
PROMPT_TOKENS = 16


class FixedEngine:
    """Implements Engine. ``places`` answers are made at a time, a token every ``step`` seconds; others wait in their order.

    It answers ``places / (tokens * step)`` requests a second, however many come, as an engine does whose batch is bounded.
    """

    def __init__(self, places: int, step: float) -> None:
        self.step = step
        self._places = asyncio.Semaphore(places)
        self._running = 0
        self._waiting = 0

    async def start(self) -> None:
        """Nothing is to be loaded."""

    async def generate(self, request: Request) -> AsyncGenerator[Event]:
        count = request.sampling.max_tokens or DEFAULT_TOKENS
        came = time.monotonic()
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            waited = time.monotonic() - came
            for number in range(count):
                await asyncio.sleep(self.step)
                if number == 0:
                    yield Started(
                        request_id=request.id, model=request.model, fingerprint="fp_fixed", queue_seconds=waited
                    )
                reason = FinishReason.LENGTH if number == count - 1 else None
                yield Delta(index=0, text="word ", token_ids=(number,), finish_reason=reason)
            yield Finished(usage=Usage(prompt_tokens=PROMPT_TOKENS, completion_tokens=count))
        finally:
            self._running -= 1
            self._places.release()

    async def embed(self, request: EmbedRequest) -> Embeddings:
        raise InvalidRequest("The fixed engine makes no embeddings.", param="model")

    def capabilities(self) -> Capabilities:
        return Capabilities(
            model=NAME,
            engine=NAME,
            fingerprint="fp_fixed",
            max_model_len=1 << 20,
            vocab_size=1 << 20,
            tool_format="hermes",
        )

    async def tokenize(self, prompt: Prompt) -> list[int]:
        return list(range(PROMPT_TOKENS))

    async def detokenize(self, token_ids: list[int]) -> str:
        return "word " * len(token_ids)

    def health(self) -> Health:
        return Health(state=HealthState.READY)

    def stats(self) -> EngineStats:
        return EngineStats(running=self._running, waiting=self._waiting)

    async def aclose(self) -> None:
        """Nothing is held."""
