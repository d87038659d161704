"""Requests that are only to be answered by what is kept: inside of every cache, and before whatever has them wait for an engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from pennyweight.server.engines.around import EngineAround
from pennyweight.server.engines.base import Engine
from pennyweight.server.errors import NotCached
from pennyweight.server.types import Event, Request


class OnlyKept(EngineAround):
    """Refuses such a request: who comes so far has found no kept answer, or has no cache."""

    def generate(self, request: Request) -> AsyncGenerator[Event]:
        return _refused() if request.cache.only_if_cached else self._engine.generate(request)


def only_kept(engine: Engine) -> Engine:
    """The engine, for requests that may have something generated."""
    return OnlyKept(engine)


async def _refused() -> AsyncGenerator[Event]:
    raise NotCached("No answer to this request is kept, and 'Cache-Control: only-if-cached' asks for no other.")
    yield  # what makes it a generator
