"""Sees to it that a request says in which mode of determinism it is answered, and by which seed where it must be repeatable."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from pennyweight.server.errors import ModelLoading
from pennyweight.server.types import Determinism, Event, Request

from .around import EngineAround
from .determinism import is_random

# Of requests that are to be repeatable and have no seed.
FIXED_SEED = 0


class InMode(EngineAround):
    """``engine``, whose own mode is that of requests that ask for none. It stands outside of the caches, which see the seed."""

    def generate(self, request: Request) -> AsyncGenerator[Event]:
        try:
            capabilities = self._engine.capabilities()
        except ModelLoading:
            return self._engine.generate(request)  # which tells that
        mode = request.determinism or capabilities.default_determinism
        if mode is Determinism.OFF:
            return self._engine.generate(request)
        sampling = request.sampling
        if sampling.seed is None and is_random(request) and capabilities.takes_seed:
            sampling = msgspec.structs.replace(sampling, seed=FIXED_SEED)
        return self._engine.generate(msgspec.structs.replace(request, determinism=mode, sampling=sampling))
