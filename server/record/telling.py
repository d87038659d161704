"""Has an engine tell what a recorded answer follows from; inside of every cache, so that nothing of it changes what those find."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from pennyweight.server.engines.around import EngineAround
from pennyweight.server.engines.base import Engine
from pennyweight.server.engines.features import Feature
from pennyweight.server.errors import ModelLoading
from pennyweight.server.types import Event, Request, Started

# Of a drawn seed: what every upstream takes, and JavaScript's numbers hold.
SEED_BITS = 31


class TellingEngine(EngineAround):
    """``engine``, which is asked for logits' hashes, and given a seed where a request has none and its choices would be random.

    Only for requests that are recorded, and as far as the engine can.
    """

    def __init__(self, engine: Engine, *, hash_logits: bool) -> None:
        super().__init__(engine)
        self._hash_logits = hash_logits

    def generate(self, request: Request) -> AsyncGenerator[Event]:
        # A search of beams draws nothing, and its answers come with no hashes.
        if not request.is_recorded or request.sampling.beam_search is not None:
            return self._engine.generate(request)
        try:
            features = self._engine.capabilities().features
        except ModelLoading:
            return self._engine.generate(request)  # and refuse nothing that it might not be able to do
        if self._hash_logits and Feature.LOGITS_HASHES in features:
            request = msgspec.structs.replace(request, hash_logits=True)
        if Feature.SEED in features and _is_random(request):
            return self._seeded(request)
        return self._engine.generate(request)

    async def _seeded(self, request: Request) -> AsyncGenerator[Event]:
        seed = secrets.randbits(SEED_BITS)
        sampling = msgspec.structs.replace(request.sampling, seed=seed)
        async with aclosing(self._engine.generate(msgspec.structs.replace(request, sampling=sampling))) as events:
            async for event in events:
                yield msgspec.structs.replace(event, seed=seed) if type(event) is Started else event


def _is_random(request: Request) -> bool:
    """Whether its choices are drawn; the model's own settings, which aren't known here, may still make them greedy."""
    sampling = request.sampling
    return sampling.seed is None and sampling.temperature != 0 and sampling.top_k != 1
