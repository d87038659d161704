"""One answer on its way in: an upstream's chunks, made into events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pennyweight.server.engines.token_estimate import estimated, estimated_prompt
from pennyweight.server.types import (
    ChatPrompt,
    Delta,
    Determinism,
    Event,
    Finished,
    FinishReason,
    Request,
    Started,
    TextPrompt,
    Usage,
)

from .chunks import DONE, Choice, MessageDelta, WireUsage, decode_chunk, decode_error
from .failure import broken
from .logprobs import token_logprobs
from .refusal import failure_of_event
from .tool_calls import CallReader

_REASONS = {
    "stop": FinishReason.STOP,
    "tool_calls": FinishReason.STOP,
    "function_call": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "eos_token": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}


@dataclass(slots=True)
class _ChoiceState:
    calls: CallReader
    is_done: bool = False


@dataclass(slots=True)
class Progress:
    """How much of an answer is there: ``steps`` that a model made, and the ``characters`` that came of them."""

    steps: int = 0
    characters: int = 0


class Answer:
    """Reads one try's stream. ``hide`` takes secrets out of what an error says."""

    def __init__(
        self,
        request: Request,
        *,
        fingerprint: str,
        hide: Callable[[str], str],
        determinism: Determinism | None = None,
    ) -> None:
        prompt = request.prompt
        parallel = not isinstance(prompt, ChatPrompt) or prompt.tool_choice.parallel
        self._request = request
        self._fingerprint = fingerprint
        self._hide = hide
        self._determinism = determinism
        self._choices = [_ChoiceState(CallReader(parallel=parallel)) for _ in range(request.sampling.n)]
        self._has_started = False
        self._is_done = False
        self._usage: WireUsage | None = None
        self.progress = Progress()

    @property
    def is_whole(self) -> bool:
        """Whether every choice has ended; the usage may still come."""
        return all(choice.is_done for choice in self._choices)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to come."""
        return self._is_done or (self.is_whole and self._usage is not None)

    def take(self, data: bytes) -> list[Event]:
        """The events of one chunk. Raises Failure for an error, and for what can't be understood."""
        if data == DONE:
            self.end()
            return []
        chunk = decode_chunk(data)
        if chunk.is_error:
            raise failure_of_event(decode_error(data), self._hide)
        self._usage = chunk.usage or self._usage
        self._fingerprint = chunk.system_fingerprint or self._fingerprint
        deltas = [delta for choice in chunk.choices or () if (delta := self._delta(choice)) is not None]
        if not deltas or self._has_started:
            return list(deltas)
        self._has_started = True
        return [self._started(), *deltas]

    def end(self) -> None:
        """The stream has ended. Raises Failure when the answer isn't whole."""
        if not self.is_whole:
            raise broken("The upstream's stream ended before the answer was whole.")
        self._is_done = True

    def finished(self) -> Finished:
        """The last event: the usage as the upstream counted it, else an estimate."""
        wire = self._usage
        if wire is None or wire.prompt_tokens is None or wire.completion_tokens is None:
            return Finished(
                usage=Usage(
                    prompt_tokens=estimated_prompt(self._request.prompt),
                    completion_tokens=estimated(self.progress.characters),
                    is_estimated=True,
                )
            )
        cached = wire.prompt_tokens_details.cached_tokens if wire.prompt_tokens_details else None
        prompt_tokens = max(wire.prompt_tokens, 0)
        return Finished(
            usage=Usage(
                prompt_tokens=prompt_tokens,
                completion_tokens=max(wire.completion_tokens, 0),
                cached_tokens=min(max(cached or 0, 0), prompt_tokens),
            )
        )

    def _started(self) -> Started:
        prompt = self._request.prompt
        return Started(
            request_id=self._request.id,
            model=self._request.model,
            fingerprint=self._fingerprint,
            prompt_text=prompt.text if isinstance(prompt, TextPrompt) else "",
            determinism=self._determinism,
        )

    def _delta(self, wire: Choice) -> Delta | None:
        """What a choice gets, None where that is nothing: a role, or more after its end."""
        if not 0 <= wire.index < len(self._choices):
            raise broken("The upstream answered with a choice that was not asked for.")
        choice, num_top = self._choices[wire.index], self._request.sampling.logprobs
        if choice.is_done:
            return None
        message = wire.delta or MessageDelta()
        text = (wire.text or "") + (message.content or "") + (message.refusal or "")
        calls = choice.calls.read(message.tool_calls) if message.tool_calls else ()
        logprobs = () if num_top is None or wire.logprobs is None else token_logprobs(wire.logprobs, num_top)
        self._note(text, message)
        if not (text or calls or logprobs or wire.finish_reason):
            return None
        reason = _reason(wire.finish_reason)
        choice.is_done = reason is not None
        return Delta(
            index=wire.index,
            text=text,
            logprobs=logprobs,
            finish_reason=reason,
            stop_reason=wire.stop_reason if reason is not None else None,
            tool_calls=calls,
        )

    def _note(self, text: str, message: MessageDelta) -> None:
        """Count what the model did, also what is not told here."""
        written = [text]
        written += [one for one in (message.reasoning, message.reasoning_content) if isinstance(one, str)]
        for call in message.tool_calls or ():
            written += [call.function.name or "", call.function.arguments or ""] if call.function else []
        if characters := sum(map(len, written)):
            self.progress.steps += 1
            self.progress.characters += characters


def _reason(wire: str | None) -> FinishReason | None:
    if not wire:
        return None
    if wire not in _REASONS:
        raise broken(f"The upstream ended its answer for a reason that means no whole one: {wire[:40]!r}.")
    return _REASONS[wire]
