"""An engine that says what a test tells it to: chosen deltas, waits and errors, and a note of how it was left."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from pennyweight.server.engines.base import Capabilities, EngineStats, Health, HealthState
from pennyweight.server.engines.determinism import honoured
from pennyweight.server.errors import InvalidRequest, PennyweightError
from pennyweight.server.types import (
    ChatPrompt,
    Delta,
    Embeddings,
    EmbedRequest,
    Event,
    Finished,
    FinishReason,
    Prompt,
    Request,
    Started,
    TextPrompt,
    TokenLogprob,
    TopLogprob,
    Usage,
)

VOCAB_SIZE = 256


def logprob(text: str, value: float = -0.5, alternatives: int = 0) -> TokenLogprob:
    """A token whose id is its text's first byte, with alternatives ``a``, ``b``, ... of falling probability."""
    raw = text.encode()
    top = tuple(
        TopLogprob(token_id=97 + rank, token=chr(97 + rank), bytes=bytes([97 + rank]), logprob=value - rank)
        for rank in range(alternatives)
    )
    return TokenLogprob(token_id=raw[0], token=text, bytes=raw, logprob=value, top=top)


def says(*texts: str, reason: FinishReason = FinishReason.STOP) -> list[Delta]:
    """Deltas of one choice, one for each text and a last one that ends it."""
    deltas = [Delta(index=0, text=text, token_ids=(0,)) for text in texts]
    return [*deltas, Delta(index=0, text="", finish_reason=reason)]


@dataclass(slots=True)
class Left:
    """How a request's generator was left: ``whole``, or ``closed`` before that, or by an error of its own."""

    request: Request
    whole: bool = False
    closed: bool = False


Step = Delta | PennyweightError | Exception | asyncio.Event
Script = Callable[[Request], Sequence[Step]]


@dataclass
class ScriptedEngine:
    """Implements Engine over bytes as tokens: token ids are those of the prompt's UTF-8.

    ``script`` gives the steps for a request: deltas to yield, errors to raise, events to wait for. Errors in ``refusals``
    are raised before Started, ``embed_refusal`` by ``embed``, which else notes its requests in ``embedded``. ``more`` are its capabilities beyond the usual. ``left`` tells how each request's generator was left.
    """

    script: Script = lambda request: says("Hello", " world")
    refusal: Callable[[Request], PennyweightError | None] = lambda request: None
    model: str = "scripted"
    tool_format: str = "hermes"
    template_kwargs: frozenset[str] = frozenset({"enable_thinking", "messages"})
    left: list[Left] = field(default_factory=list)
    embedded: list[EmbedRequest] = field(default_factory=list)
    embed_refusal: PennyweightError | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    async def generate(self, request: Request) -> AsyncGenerator[Event]:
        left = Left(request)
        self.left.append(left)
        try:
            await asyncio.sleep(0)
            mode = honoured(request, self.capabilities())
            if (refusal := self.refusal(request)) is not None:
                raise refusal
            token_ids = await self.tokenize(request.prompt)
            yield msgspec.structs.replace(self._started(request, token_ids), determinism=mode)
            completion_tokens = 0
            for step in _for_choices(request, self.script(request)):
                match step:
                    case Delta():
                        completion_tokens += len(step.token_ids)
                        yield step
                    case asyncio.Event():
                        await step.wait()
                    case error:
                        raise error
            left.whole = True
            yield Finished(
                usage=Usage(prompt_tokens=len(token_ids), completion_tokens=completion_tokens, cached_tokens=1)
            )
        except (GeneratorExit, asyncio.CancelledError):
            left.closed = not left.whole
            raise

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Vectors of two numbers, or as many as are asked for: an input's length, and ones."""
        await asyncio.sleep(0)
        if self.embed_refusal is not None:
            raise self.embed_refusal
        self.embedded.append(request)
        token_ids = [await self.tokenize(one) for one in request.inputs]
        ones = [1.0] * ((request.dimensions or 2) - 1)
        vectors = tuple(np.array([len(ids), *ones], dtype="<f4").tobytes() for ids in token_ids)
        usage = Usage(prompt_tokens=sum(map(len, token_ids)), completion_tokens=0)
        return Embeddings(vectors=vectors, usage=usage)

    def capabilities(self) -> Capabilities:
        known = Capabilities(
            model=self.model,
            engine="scripted",
            fingerprint="fp_scripted",
            max_model_len=2048,
            vocab_size=VOCAB_SIZE,
            tool_format=self.tool_format,
            template_kwargs=self.template_kwargs,
            created=1_700_000_000,
        )
        return dataclasses.replace(known, **self.more)

    async def tokenize(self, prompt: Prompt) -> list[int]:
        match prompt:
            case ChatPrompt():
                return list("".join(f"{message.role}:{message.content}\n" for message in prompt.messages).encode())
            case TextPrompt():
                return [1] * prompt.add_special_tokens + list(prompt.text.encode())
            case tokens:
                _check_vocabulary(tokens.token_ids, "prompt")
                return list(tokens.token_ids)

    async def detokenize(self, token_ids: list[int]) -> str:
        _check_vocabulary(token_ids, "tokens")
        return bytes(token_ids).decode(errors="replace")

    def health(self) -> Health:
        return Health(state=HealthState.READY)

    def stats(self) -> EngineStats:
        return EngineStats()

    async def aclose(self) -> None: ...

    def _started(self, request: Request, token_ids: list[int]) -> Started:
        wanted = request.sampling.prompt_logprobs
        rest = (logprob(chr(one), alternatives=wanted or 0) for one in token_ids[1:])
        decoded = bytes(token_ids).decode(errors="replace")
        text = request.prompt.text if isinstance(request.prompt, TextPrompt) else decoded
        return Started(
            request_id=request.id,
            model=request.model,
            fingerprint="fp_scripted",
            prompt_token_ids=tuple(token_ids),
            prompt_text="" if isinstance(request.prompt, ChatPrompt) else text,
            prompt_logprobs=None if wanted is None else (None, *rest),
        )


def _check_vocabulary(token_ids: Sequence[int], param: str) -> None:
    if any(not 0 <= token_id < VOCAB_SIZE for token_id in token_ids):
        raise InvalidRequest("A token id is outside the vocabulary.", param=param)


def _for_choices(request: Request, steps: Sequence[Step]) -> list[Step]:
    """The steps, each delta of choice 0 once for every choice, unless there are some of other choices."""
    if any(isinstance(step, Delta) and step.index for step in steps):
        return list(steps)
    found: list[Step] = []
    for step in steps:
        if isinstance(step, Delta):
            found.extend(msgspec.structs.replace(step, index=index) for index in range(request.sampling.n))
        else:
            found.append(step)
    return found


def only(engine: ScriptedEngine) -> Mapping[str, ScriptedEngine]:
    """An engine under its model's name."""
    return {engine.model: engine}
