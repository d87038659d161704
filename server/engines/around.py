"""What engines around an engine have in common: whatever one doesn't do itself, the engine inside does."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from pennyweight.server.types import Embeddings, EmbedRequest, Event, Prompt, Request

from .base import Capabilities, Engine, EngineStats, Health


class EngineAround:
    """Implements Engine by ``engine``; to be inherited by who does some of it otherwise."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def inner(self) -> Engine:
        """The engine that this one is around."""
        return self._engine

    def generate(self, request: Request) -> AsyncGenerator[Event]:
        return self._engine.generate(request)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        return await self._engine.embed(request)

    def capabilities(self) -> Capabilities:
        return self._engine.capabilities()

    async def tokenize(self, prompt: Prompt) -> list[int]:
        return await self._engine.tokenize(prompt)

    async def detokenize(self, token_ids: list[int]) -> str:
        return await self._engine.detokenize(token_ids)

    def health(self) -> Health:
        return self._engine.health()

    def stats(self) -> EngineStats:
        return self._engine.stats()

    async def aclose(self) -> None:
        await self._engine.aclose()
