"""An engine whose vectors are of the words of a text: texts with the same words are near, and each version turns them its own way."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import numpy as np

from pennyweight.server.engines.base import Capabilities, EngineStats, Health, HealthState
from pennyweight.server.errors import PennyweightError
from pennyweight.server.types import Embeddings, EmbedRequest, Event, Prompt, Request, TextPrompt, Usage

DIMENSIONS = 64


@dataclass
class WordEmbedder:
    """Implements Engine's ``embed``. It fails with ``error``, if there is one, and waits for ``delay`` seconds."""

    version: str = "1"
    max_model_len: int = 64
    error: PennyweightError | None = None
    delay: float = 0.0
    embedded: list[str] = field(default_factory=list)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error
        texts = [one.text for one in request.inputs if isinstance(one, TextPrompt)]
        self.embedded += texts
        vectors = tuple(sum((self._word(word) for word in words(text)), np.zeros(DIMENSIONS)) for text in texts)
        usage = Usage(prompt_tokens=sum(len(words(text)) for text in texts), completion_tokens=0)
        return Embeddings(vectors=tuple(one.astype("<f4").tobytes() for one in vectors), usage=usage)

    def capabilities(self) -> Capabilities:
        return Capabilities(
            model="words",
            engine="words",
            fingerprint=self.version,
            max_model_len=self.max_model_len,
            vocab_size=None,
            tool_format="hermes",
        )

    async def tokenize(self, prompt: Prompt) -> list[int]:
        assert isinstance(prompt, TextPrompt)
        return [0] * len(words(prompt.text))

    def generate(self, request: Request) -> AsyncGenerator[Event]:
        raise NotImplementedError

    async def detokenize(self, token_ids: list[int]) -> str:
        raise NotImplementedError

    def health(self) -> Health:
        return Health(state=HealthState.READY)

    def stats(self) -> EngineStats:
        return EngineStats()

    async def aclose(self) -> None: ...

    def _word(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(f"{self.version} {word}".encode()).digest()[:8], "little")
        return np.random.default_rng(seed).standard_normal(DIMENSIONS)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
