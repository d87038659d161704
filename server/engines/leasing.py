"""An engine around one that is loaded on demand: the model is held for as long as it works on something, and no longer."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from pennyweight.server.types import Embeddings, EmbedRequest, Event, Request

from .around import EngineAround
from .base import Engine, Leased


class LeasingEngine(EngineAround):
    """``engine`` and ``leased`` are the same one. What stands around this engine and answers by itself has nothing loaded for it.

    Text and tokens need no lease: an engine knows them from its first load on. A second lease in the middle of an answer could not be
    had either, where its model is to leave once the answer is over.
    """

    def __init__(self, engine: Engine, leased: Leased) -> None:
        super().__init__(engine)
        self._leased = leased

    async def generate(self, request: Request) -> AsyncGenerator[Event]:
        async with self._leased.lease(), aclosing(self._engine.generate(request)) as events:
            async for event in events:
                yield event

    async def embed(self, request: EmbedRequest) -> Embeddings:
        async with self._leased.lease():
            return await self._engine.embed(request)


def leasing(engine: Engine) -> Engine:
    """The engine, around it a LeasingEngine where it needs one."""
    return LeasingEngine(engine, cast("Leased", engine)) if _has_leases(type(engine)) else engine


@functools.cache
def _has_leases(engine_type: type) -> bool:
    # Asking each engine anew takes as long as reading a request.
    return issubclass(engine_type, Leased)
