"""Texts to vectors by one of the server's models, within a time limit, or not at all."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import cast

import numpy as np

from pennyweight.server.engines.base import Engine, Leased
from pennyweight.server.errors import PennyweightError
from pennyweight.server.types import EmbedRequest, TextPrompt

from .index import Vector

# A window that is not known is taken to be this small, in tokens.
LEAST_WINDOW = 256
# Characters of a token, more than they have on average in any language.
LONGEST_TOKEN = 8
SHORTEST_VECTOR = 1e-6


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A version of the embedding model: whose vectors can be compared with each other."""

    engine: Engine
    version: str


class Embedder:
    """The model that ``name`` means now, a model's own or an alias among ``engines``."""

    def __init__(self, engines: Mapping[str, Engine], name: str, timeout: float) -> None:
        self._engines = engines
        self._name = name
        self._timeout = timeout
        self._numbers = itertools.count()
        self.failures = 0
        self.tokens = 0

    def current(self) -> EmbeddingModel | None:
        """The version that the name means now; None where there is none, or it was not ready yet."""
        engine = self._engines.get(self._name)
        if engine is None:
            return None
        try:
            found = engine.capabilities()
        except PennyweightError:
            return None
        return EmbeddingModel(engine, f"{found.model}@{found.fingerprint}")

    async def embed(self, model: EmbeddingModel, text: str) -> Vector | None:
        """A text's vector, of length 1. None for a text that the model can't see the whole of, and where the model fails or is too slow."""
        try:
            async with asyncio.timeout(self._timeout):
                if not await self._fits(model.engine, text):
                    return None
                return (await self._embed(model.engine, (text,)))[0]
        except (PennyweightError, TimeoutError):
            self.failures += 1
            return None

    async def embed_all(self, model: EmbeddingModel, texts: Sequence[str]) -> list[Vector | None]:
        """As ``embed`` for many, without hurry. Raises PennyweightError where the model fails."""
        fitting = [text for text in texts if await self._fits(model.engine, text)]
        vectors = dict(zip(fitting, await self._embed(model.engine, fitting), strict=True)) if fitting else {}
        return [vectors.get(text) for text in texts]

    async def _fits(self, engine: Engine, text: str) -> bool:
        """Whether a text is within the model's window; what lies beyond it may be cut off without a word."""
        window = engine.capabilities().max_model_len or LEAST_WINDOW
        # Of a word that it doesn't know a tokenizer may make one token, however long it is.
        if len(text) > LONGEST_TOKEN * window:
            return False
        # A token has a byte at least; two are the model's own around the text.
        return len(text.encode()) + 2 <= window or len(await engine.tokenize(TextPrompt(text=text))) <= window

    async def _embed(self, engine: Engine, texts: Sequence[str]) -> list[Vector | None]:
        request = EmbedRequest(
            id=f"semantic-cache-{next(self._numbers)}",
            model=self._name,
            inputs=tuple(TextPrompt(text=text) for text in texts),
        )
        async with leased(engine):
            found = await engine.embed(request)
        self.tokens += found.usage.prompt_tokens
        return [_unit(np.frombuffer(one, dtype="<f4")) for one in found.vectors]


def leased(engine: Engine) -> AbstractAsyncContextManager[None]:
    """The model loaded inside the block, where it is not at all times."""
    return cast("Leased", engine).lease() if isinstance(engine, Leased) else nullcontext()


def _unit(vector: Vector) -> Vector | None:
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length < SHORTEST_VECTOR:
        return None
    return (vector / np.float32(length)).astype(np.float32)
