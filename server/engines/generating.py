"""What really generates: an engine that is asked for an answer, and whose model is loaded for that and no longer."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import cast

from pennyweight.server.errors import ModelLoading, NotCached
from pennyweight.server.types import Embeddings, EmbedRequest, Event, Request

from .around import EngineAround
from .base import Engine, Leased


class GeneratingEngine(EngineAround):
    """The innermost engine around an engine. Whatever answers without it (a cache) leaves a model unloaded that is.

    Refuses a request that is only to be answered by what is kept: nobody around this engine had an answer. What its model can do
    and the ids of its tokens are known without a lease, once it was loaded: ``known`` first.
    """

    async def known(self) -> None:
        """Have the model loaded if it never was, for until then nothing is known of it. Raises what ``Leased.lease`` raises."""
        if _has_leases(type(self._engine)):
            try:
                self._engine.capabilities()
            except ModelLoading:
                async with self._lease():
                    pass

    def generate(self, request: Request) -> AsyncGenerator[Event]:
        if request.cache.only_if_cached:
            return _refused()
        if _has_leases(type(self._engine)):
            return self._generate_loaded(request)
        return self._engine.generate(request)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        if not _has_leases(type(self._engine)):
            return await self._engine.embed(request)
        async with self._lease():
            return await self._engine.embed(request)

    async def _generate_loaded(self, request: Request) -> AsyncGenerator[Event]:
        async with self._lease(), aclosing(self._engine.generate(request)) as events:
            async for event in events:
                yield event

    def _lease(self) -> AbstractAsyncContextManager[None]:
        return cast("Leased", self._engine).lease()


async def _refused() -> AsyncGenerator[Event]:
    raise NotCached("No answer to this request is kept, and 'Cache-Control: only-if-cached' asks for no other.")
    yield  # what makes it a generator


@functools.cache
def _has_leases(engine_type: type[Engine]) -> bool:
    """Whether engines of this type are Leased. Asking each of them anew takes as long as reading the request."""
    return issubclass(engine_type, Leased)
