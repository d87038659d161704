"""One answer on its way out: what the engine's process chose, made into events of text."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec

from pennyweight.server.errors import EngineFailed, InvalidRequest, PennyweightError
from pennyweight.server.types import (
    Delta,
    Determinism,
    Event,
    Finished,
    FinishReason,
    Request,
    Started,
    TokenLogprob,
    TopLogprob,
    Usage,
)

from .detokenizer import Detokenizer
from .messages import Logprobs, Progress
from .tokenizer import Tokenizer

# Tokens in an event that was joined of several: far more would be copied over and over for a client that reads nothing.
MAX_JOINED = 64


@dataclass(slots=True)
class _Choice:
    detokenizer: Detokenizer
    is_done: bool = False


class Answer:
    """Detokenises one request's choices and hands the events to the one who waits for them; all on the event loop."""

    def __init__(
        self,
        request: Request,
        token_ids: list[int],
        tokenizer: Tokenizer,
        *,
        fingerprint: str,
        prompt_text: str,
        determinism: Determinism | None = None,
    ) -> None:
        sampling = request.sampling
        self.request = request
        self._tokenizer = tokenizer
        self._token_ids = token_ids
        self._fingerprint = fingerprint
        self._determinism = determinism
        self._prompt_text = prompt_text
        self._num_completion = 0
        self._num_cached: int | None = None
        self._choices = [
            _Choice(
                Detokenizer(
                    tokenizer,
                    stop=sampling.stop,
                    include_stop_str_in_output=sampling.include_stop_str_in_output,
                    skip_special_tokens=sampling.skip_special_tokens,
                    min_tokens=sampling.min_tokens,
                )
            )
            for _ in range(sampling.n)
        ]
        self._events: list[Event] = []
        self._error: PennyweightError | None = None
        self._waiter: asyncio.Future[None] | None = None
        # The prompt's logprobs, where they were asked for, until Started is handed out with them.
        self._prompt_logprobs: list[Logprobs] | None = None

    @property
    def is_finished(self) -> bool:
        """Whether every choice has ended."""
        return all(choice.is_done for choice in self._choices)

    def advance(self, progress: Progress) -> bool:
        """Take in what a step added; returns whether the engine must be told to drop the choice (a stop string)."""
        events = self._events
        choice = self._choices[progress.index]
        if choice.is_done:
            return False  # the engine was a step ahead of a stop string
        if progress.error is not None:
            choice.is_done = True
            self.fail(self._error_of(progress))
            return False
        if self._num_cached is None:
            self._num_cached = progress.cached_tokens
            events.append(self._started(progress))
        if not progress.token_ids and progress.finish_reason is None:
            self._wake()
            return False
        delta = self._delta(choice, progress)
        choice.is_done = delta.finish_reason is not None
        last = events[-1] if events else None
        if isinstance(last, Delta) and last.index == delta.index and len(last.token_ids) < MAX_JOINED:
            # Whoever reads is behind the engine: what waits for them becomes one event, and the next is cheaper to catch up with.
            events[-1] = _joined(last, delta)
        else:
            events.append(delta)
        if self.is_finished:
            usage = Usage(
                prompt_tokens=len(self._token_ids),
                completion_tokens=self._num_completion,
                cached_tokens=self._num_cached,
            )
            events.append(Finished(usage=usage))
        self._wake()
        return choice.is_done and progress.finish_reason is None

    def fail(self, error: PennyweightError) -> None:
        """End the answer with an error, which is raised after what came before it."""
        self._error = error
        self._wake()

    async def next_events(self) -> list[Event]:
        """Everything that has come since the last call, at least one event; for one that waits at a time.

        Raises what the answer failed with.
        """
        while not self._events:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        events, self._events = self._events, []
        if self._prompt_logprobs is not None and isinstance(events[0], Started):
            # A long prompt has a hundred thousand of them.
            found, self._prompt_logprobs = self._prompt_logprobs, None
            texts = await asyncio.to_thread(lambda: tuple(map(self._logprob, found)))
            events[0] = msgspec.structs.replace(events[0], prompt_logprobs=(None, *texts))
        return events

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _started(self, progress: Progress) -> Started:
        if self.request.sampling.prompt_logprobs is not None:
            self._prompt_logprobs = progress.prompt_logprobs
        return Started(
            request_id=self.request.id,
            model=self.request.model,
            fingerprint=self._fingerprint,
            prompt_token_ids=tuple(self._token_ids),
            prompt_text=self._prompt_text,
            queue_seconds=progress.queue_seconds,
            determinism=self._determinism,
        )

    def _delta(self, choice: _Choice, progress: Progress) -> Delta:
        self._num_completion += len(progress.token_ids)
        ended_by_token = progress.stop_token_id is not None
        visible = progress.token_ids[:-1] if ended_by_token else progress.token_ids
        text, stop_string = choice.detokenizer.push(visible)
        finish_reason = FinishReason.STOP if stop_string is not None else progress.finish_reason
        if finish_reason is not None and stop_string is None:
            text += choice.detokenizer.flush()
        stop_reason: str | int | None = stop_string
        if stop_string is None and progress.stop_token_id in self.request.sampling.stop_token_ids:
            stop_reason = progress.stop_token_id
        return Delta(
            index=progress.index,
            text=text,
            token_ids=tuple(progress.token_ids),
            logprobs=tuple(self._logprob(one) for one in progress.logprobs[: len(visible)]),
            finish_reason=finish_reason,
            stop_reason=stop_reason,
            logits_hashes=progress.logits_hashes,
            beam_score=progress.beam_score,
        )

    def _logprob(self, found: Logprobs) -> TokenLogprob:
        one = self._top(found.token_id, found.logprob)
        return TokenLogprob(
            token_id=one.token_id,
            token=one.token,
            bytes=one.bytes,
            logprob=one.logprob,
            top=tuple(map(self._top, found.top_ids, found.top_logprobs)),
        )

    def _top(self, token_id: int, logprob: float) -> TopLogprob:
        return TopLogprob(
            token_id=token_id,
            token=self._tokenizer.token_text(token_id),
            bytes=self._tokenizer.token_bytes(token_id),
            logprob=logprob,
        )

    def _error_of(self, progress: Progress) -> PennyweightError:
        if progress.param is not None:
            return InvalidRequest(progress.error or "", param=progress.param)
        return EngineFailed(progress.error or "The engine could not go on with this request.")


def _joined(first: Delta, second: Delta) -> Delta:
    """Two deltas of one choice as one; only the second may have ended it."""
    return Delta(
        index=first.index,
        text=first.text + second.text,
        token_ids=first.token_ids + second.token_ids,
        logprobs=first.logprobs + second.logprobs,
        finish_reason=second.finish_reason,
        stop_reason=second.stop_reason,
        logits_hashes=first.logits_hashes + second.logits_hashes,
        beam_score=second.beam_score,
    )
