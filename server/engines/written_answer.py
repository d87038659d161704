"""Engines whose answers were written beforehand by the operator: no model, no tokens, an answer in microseconds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator

from pennyweight.server.errors import InvalidRequest, UnsupportedParameter
from pennyweight.server.types import (
    Delta,
    Embeddings,
    EmbedRequest,
    Event,
    Finished,
    FinishReason,
    Prompt,
    Request,
    SamplingParams,
    Started,
    TextPrompt,
    Usage,
)

from .base import Capabilities, EngineStats, Health, HealthState
from .determinism import honoured
from .features import Feature, refuse_unsupported
from .token_estimate import CHARACTERS_PER_TOKEN, estimated, estimated_prompt

# Beside what is done here, what only says how tokens are to be chosen: none is chosen, so it is kept to whatever it says.
WRITTEN_FEATURES = frozenset(
    {
        Feature.GENERATION,
        Feature.TEXT_PROMPTS,
        Feature.NO_SPECIAL_TOKENS,
        Feature.N,
        Feature.STOP,
        Feature.INCLUDE_STOP_STR,
        Feature.SEED,
        Feature.PENALTIES,
        Feature.TOP_K,
        Feature.MIN_P,
        Feature.REPETITION_PENALTY,
        Feature.PRIORITY,
    }
)


class WrittenEngine(ABC):
    """Implements Engine by ``_text``. Usage is estimated, for there are no tokens, and ``max_tokens`` is kept by the same estimate."""

    @abstractmethod
    def capabilities(self) -> Capabilities: ...

    @abstractmethod
    def _text(self, request: Request) -> str:
        """The answer to a request whose features are among WRITTEN_FEATURES. Raises PennyweightError."""

    async def generate(self, request: Request) -> AsyncGenerator[Event]:
        capabilities = self.capabilities()
        try:
            refuse_unsupported(request, capabilities)
        except UnsupportedParameter as error:
            raise UnsupportedParameter(
                f"{error.message} Its answers are texts written beforehand, which nothing can be asked of but to be shorter.",
                param=error.param,
            ) from None
        text, reason, stop = _cut(self._text(request), request.sampling)
        prompt = request.prompt
        yield Started(
            request_id=request.id,
            model=request.model,
            fingerprint=capabilities.fingerprint,
            prompt_text=prompt.text if isinstance(prompt, TextPrompt) else "",
            queue_seconds=0.0,
            determinism=honoured(request, capabilities),
        )
        for index in range(request.sampling.n):
            for delta in _deltas(index, text, reason, stop):
                yield delta
        usage = Usage(
            prompt_tokens=estimated_prompt(prompt),
            completion_tokens=estimated(len(text)) * request.sampling.n,
            is_estimated=True,
        )
        yield Finished(usage=usage)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        raise InvalidRequest(f"The model {request.model} makes no embeddings.", param="model")

    async def tokenize(self, prompt: Prompt) -> list[int]:
        raise UnsupportedParameter(f"This model has no tokens: its engine ({self.capabilities().engine}) has no model.")

    async def detokenize(self, token_ids: list[int]) -> str:
        raise UnsupportedParameter(f"This model has no tokens: its engine ({self.capabilities().engine}) has no model.")

    def health(self) -> Health:
        return Health(state=HealthState.READY)

    def stats(self) -> EngineStats:
        return EngineStats()

    async def aclose(self) -> None:  # noqa: B027 (most hold nothing that has to be freed)
        """Free what is held."""


def _cut(text: str, sampling: SamplingParams) -> tuple[str, FinishReason, str | None]:
    """What may be given of a text, why it ends, and the stop string that ended it: the one that is complete first, of two that
    end together the longer.
    """
    room = len(text) if sampling.max_tokens is None else sampling.max_tokens * CHARACTERS_PER_TOKEN
    ends = [(start + len(stop), start, stop) for stop in sampling.stop if (start := text.find(stop)) >= 0]
    if ends and min(ends)[0] <= room:
        end, start, stop = min(ends)
        return text[: end if sampling.include_stop_str_in_output else start], FinishReason.STOP, stop
    return text[:room], FinishReason.LENGTH if room < len(text) else FinishReason.STOP, None


def _deltas(index: int, text: str, reason: FinishReason, stop: str | None) -> Iterator[Delta]:
    """A choice by its lines, as a stream that is read while it comes would have them."""
    *lines, last = text.splitlines(keepends=True) or [""]
    for line in lines:
        yield Delta(index=index, text=line)
    yield Delta(index=index, text=last, finish_reason=reason, stop_reason=stop)
