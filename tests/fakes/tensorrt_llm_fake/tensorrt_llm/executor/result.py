"""executor/result.py: what is streamed, and how one object is changed by each step that is taken."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tensorrt_llm.executor.utils import RequestError


@dataclass(slots=True)
class Logprob:
    logprob: float
    rank: int | None = None


@dataclass(slots=True)
class CompletionOutput:
    index: int
    text: str = ""
    token_ids: list[int] | None = field(default_factory=list)
    cumulative_logprob: float | None = None
    logprobs: list[Any] | None = field(default_factory=list)
    prompt_logprobs: list[Any] | None = field(default_factory=list)
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    generation_logits: Any = None
    additional_context_outputs: Any = None
    additional_generation_outputs: Any = None
    disaggregated_params: Any = None
    request_perf_metrics: Any = None
    _postprocess_result: Any = None
    _last_text_len: int = field(default=0, init=False, repr=False)
    _last_token_ids_len: int = field(default=0, init=False, repr=False)
    _last_logprobs_len: int = field(default=0, init=False, repr=False)

    @property
    def length(self) -> int:
        return len(self.token_ids)

    @property
    def text_diff(self) -> str:
        return self.text[self._last_text_len :]

    @property
    def token_ids_diff(self) -> list[int]:
        return self.token_ids[self._last_token_ids_len :]

    @property
    def logprobs_diff(self) -> list[Any]:
        return self.logprobs[self._last_logprobs_len :]


@dataclass
class Response:
    """What the executor sends for one sequence; ``error`` is a str for the request's own, an exception for the engine's end."""

    sequence_index: int = 0
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[dict[int, Logprob]] = field(default_factory=list)
    finish_reason: str | None = None
    is_final: bool = False
    cached_tokens: int = 0
    error: str | Exception | None = None


class GenerationResult:
    """One request's stream. Made while an event loop runs, or it can't be iterated asynchronously."""

    def __init__(self, request_id: int, prompt_token_ids: list[int], sampling_params: Any, executor: Any) -> None:
        self.request_id = request_id
        self.prompt_token_ids = prompt_token_ids
        self.sampling_params = sampling_params
        self.cached_tokens = 0
        self._executor = executor
        self._outputs = [CompletionOutput(index) for index in range(sampling_params.n)]
        self._done = self._aborted = False
        try:
            asyncio.get_running_loop()
            self.aqueue: asyncio.Queue[Response] | None = asyncio.Queue()
        except RuntimeError:
            self.aqueue = None

    @property
    def outputs(self) -> list[CompletionOutput]:
        return self._outputs

    @property
    def finished(self) -> bool:
        return self._done

    def abort(self) -> None:
        assert self._executor is not None, "The executor should be set before abort"
        self._executor.abort_request(self.request_id)
        self._aborted = True

    def aborted(self) -> bool:
        return self._aborted

    def __aiter__(self) -> GenerationResult:
        return self

    async def __anext__(self) -> GenerationResult:
        if self._done:
            raise StopAsyncIteration
        assert self.aqueue is not None, (
            "The asyncio event loop was not present during initialization, so async operations are not available."
        )
        self._handle_response(await self.aqueue.get())
        return self

    def _handle_response(self, response: Response) -> None:
        if response.error is not None:
            # _done stays as it is: who goes on iterating waits for ever.
            if isinstance(response.error, str):
                raise RequestError(response.error)
            self._executor.shutdown()
            raise response.error
        self._done = response.is_final
        self.cached_tokens = response.cached_tokens
        output = self._outputs[response.sequence_index]
        output._last_token_ids_len = len(output.token_ids)
        output.token_ids.extend(response.token_ids)
        output._last_logprobs_len = len(output.logprobs)
        output.logprobs.extend(response.logprobs)
        if self.sampling_params.logprobs:
            assert len(output.logprobs) == len(output.token_ids)
        if response.finish_reason == "cancelled":
            for one in self._outputs:
                one.finish_reason = "cancelled"
        elif response.finish_reason == "stop_words":
            self._handle_stop_words(output)
        elif response.finish_reason is not None:
            output.finish_reason = {"end_id": "stop"}.get(response.finish_reason, response.finish_reason)

    def _handle_stop_words(self, output: CompletionOutput) -> None:
        output.finish_reason = "stop"
        params = self.sampling_params
        reasons = [
            *(params.stop_token_ids or []),
            *([params.stop] if isinstance(params.stop, str) else params.stop or []),
        ]
        for reason, stop_ids in zip(reasons, params._get_stop_words(), strict=True):
            if output.token_ids[-len(stop_ids) :] == stop_ids:
                output.stop_reason = reason
                if not params.include_stop_str_in_output:
                    output.token_ids = output.token_ids[: -len(stop_ids)]
                break


class IterationResult:
    """The figures of each iteration; a singleton that ends when nothing came for ``timeout`` seconds, until the next request."""

    def __init__(self) -> None:
        self._queue: deque[dict[str, Any]] = deque(maxlen=1000)
        self._arrived = asyncio.Event()
        self._timeout: float | None = 2
        self._done = False

    def set_timeout(self, timeout: float | None) -> None:
        self._timeout = timeout

    def mark_undone(self) -> None:
        self._done = False

    def put(self, figures: dict[str, Any]) -> None:
        self._queue.append(figures)
        self._arrived.set()

    def __aiter__(self) -> IterationResult:
        return self

    async def __anext__(self) -> dict[str, Any]:
        if self._done:
            raise StopAsyncIteration
        while not self._queue:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), self._timeout)
            except TimeoutError:
                self._done = True
                raise StopAsyncIteration from None
        return self._queue.popleft()


class Nothing:
    """What there is to iterate over before the first request."""

    def __aiter__(self) -> Nothing:
        return self

    async def __anext__(self) -> dict[str, Any]:
        raise StopAsyncIteration
