"""The part that computes: a toy rule over the tokenizer's vocabulary, a step at a time for all requests."""

from __future__ import annotations

import asyncio
import os
import zlib
from dataclasses import dataclass, field
from typing import Any

import llguidance
import llguidance.numpy
import numpy as np
import tokenizers

from tensorrt_llm.call_log import log_call
from tensorrt_llm.executor.result import GenerationResult, IterationResult, Logprob, Response

STEP_SECONDS = 0.002
# A prompt that has one of these texts: its request fails after two tokens, the engine fails under it, its process dies
# without a word, or the model ends its answer after three tokens.
FAULTS = FAIL, DIE, STALL, END = "please fail", "please die", "please stall", "please end"
# A number of tokens after which every request is cancelled by the engine itself.
CANCEL_AFTER = "FAKE_TRTLLM_CANCEL_AFTER"


@dataclass
class Sequence:
    index: int
    token_ids: list[int] = field(default_factory=list)
    matcher: Any = None
    is_done: bool = False


@dataclass
class Running:
    result: GenerationResult
    text: str
    cached_tokens: int
    sequences: list[Sequence]


class Engine:
    """Takes requests on the event loop and steps in a task of its own while there are any."""

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        *,
        max_seq_len: int | None,
        max_batch_size: int,
        tokens_per_block: int,
        reuse: bool,
        guided: str | None,
    ) -> None:
        self.tokenizer = tokenizer
        self.is_shutdown = False
        self.is_stalled = False
        self.figures: IterationResult | None = None
        self._max_seq_len = max_seq_len
        self._max_batch_size = max_batch_size
        self._tokens_per_block = tokens_per_block
        self._reuse = reuse
        self._guided = guided
        self._llg: llguidance.LLTokenizer | None = None
        self._seen: set[tuple[int, ...]] = set()
        self._requests: dict[int, Running] = {}
        self._task: asyncio.Task[None] | None = None
        self._hits = self._misses = self._iterations = 0
        special = {number for number, one in tokenizer.get_added_tokens_decoder().items() if one.special}
        self.ordinary = [number for number in range(tokenizer.get_vocab_size()) if number not in special]

    def submit(self, result: GenerationResult) -> None:
        params, prompt = result.sampling_params, result.prompt_token_ids
        try:
            params._get_stop_words()
        except RuntimeError as error:  # the process that builds the request wraps whatever it meets
            result.aqueue.put_nowait(Response(error=str(error)))
            return
        running = Running(
            result,
            self.tokenizer.decode(prompt, skip_special_tokens=False),
            self._cached(prompt),
            [Sequence(index) for index in range(params.n)],
        )
        if params.guided_decoding is not None:
            try:
                for sequence in running.sequences:
                    sequence.matcher = self._matcher(params.guided_decoding)
            except ValueError as error:
                result.aqueue.put_nowait(Response(error=f"Guided decoding error: {error}"))
                return
        self._requests[result.request_id] = running
        if self.figures is None:
            self.figures = IterationResult()
        self.figures.mark_undone()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def abort_request(self, request_id: int) -> None:
        log_call("abort_request", {"request_id": request_id})
        running = self._requests.pop(request_id, None)
        if running is not None:
            running.result.aqueue.put_nowait(Response(finish_reason="cancelled", is_final=True))

    def shutdown(self) -> None:
        self.is_shutdown = True

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(STEP_SECONDS)
            if self.is_stalled or self.is_shutdown or not self._requests:
                continue
            for running in list(self._requests.values())[: self._max_batch_size]:
                for sequence in running.sequences:
                    if not sequence.is_done and running.result.request_id in self._requests:
                        self._step(running, sequence)
            self._tell()

    def _step(self, running: Running, sequence: Sequence) -> None:
        result, params, done = running.result, running.result.sampling_params, len(sequence.token_ids)
        if STALL in running.text and done == 2:
            self.is_stalled = True
            return
        if done == 2 and (FAIL in running.text or DIE in running.text):
            del self._requests[result.request_id]
            error: Any = (
                "CUDA error: out of memory" if FAIL in running.text else RuntimeError("an illegal memory access")
            )
            result.aqueue.put_nowait(Response(error=error))
            return
        if os.environ.get(CANCEL_AFTER) == str(done):
            self.abort_request(result.request_id)
            return
        ranked = self._ranked(running, sequence)
        chosen = ranked[0]
        sequence.token_ids.append(chosen)
        logprobs = []
        if params.logprobs:
            logprobs = [
                {one: Logprob(-0.5 * (rank + 1), rank + 1) for rank, one in enumerate(ranked[: params.logprobs])}
            ]
        reason = self._finish_reason(running, sequence)
        sequence.is_done = reason is not None
        is_final = all(one.is_done for one in running.sequences)
        if is_final:
            del self._requests[result.request_id]
        result.aqueue.put_nowait(Response(sequence.index, [chosen], logprobs, reason, is_final, running.cached_tokens))

    def _ranked(self, running: Running, sequence: Sequence) -> list[int]:
        """A few tokens, the best first: the toy rule, within what the grammar allows."""
        params = running.result.sampling_params
        candidates = self.ordinary
        if sequence.matcher is not None:
            candidates = self._allowed(sequence.matcher)
        context = np.array([*running.result.prompt_token_ids, *sequence.token_ids, sequence.index], dtype=np.int32)
        start = zlib.crc32(context.tobytes()) % len(candidates)
        ranked = [candidates[(start + offset) % len(candidates)] for offset in range(min(32, len(candidates)))]
        if sequence.matcher is None and END in running.text and len(sequence.token_ids) == 3:
            ranked.insert(0, params.end_id)
        if sequence.matcher is not None and not sequence.matcher.is_stopped():
            sequence.matcher.try_consume_tokens([ranked[0]])
        return ranked

    def _finish_reason(self, running: Running, sequence: Sequence) -> str | None:
        params, token_ids = running.result.sampling_params, sequence.token_ids
        if token_ids[-1] == (-1 if params.ignore_eos else params.end_id):
            return "end_id"
        room = len(running.result.prompt_token_ids) + len(token_ids) >= (self._max_seq_len or 1 << 30)
        if len(token_ids) >= params.max_tokens or room:
            return "length"
        words = params._get_stop_words()
        return "stop_words" if any(token_ids[-len(word) :] == word for word in words) else None

    def _cached(self, prompt: list[int]) -> int:
        blocks = [tuple(prompt[:end]) for end in range(self._tokens_per_block, len(prompt), self._tokens_per_block)]
        hits = [block for block in blocks if block in self._seen] if self._reuse else []
        self._hits += len(hits)
        self._misses += len(blocks) - len(hits)
        self._seen.update(blocks)
        return len(hits) * self._tokens_per_block

    def _matcher(self, guide: Any) -> Any:
        if self._guided != "llguidance":
            raise ValueError("Guided decoding is not enabled")
        if self._llg is None:
            self._llg = llguidance.LLTokenizer(self.tokenizer.to_str(), n_vocab=None, eos_token=None)
        make = llguidance.LLMatcher
        if guide.json_object:
            grammar = make.grammar_from_json_schema('{"type": "object"}')
        elif guide.json is not None:
            grammar = make.grammar_from_json_schema(guide.json)
        elif guide.regex is not None:
            grammar = make.grammar_from_regex(guide.regex)
        elif guide.grammar is not None:
            grammar = make.grammar_from_lark(guide.grammar)
        else:
            raise ValueError("Unsupported guide type")
        matcher = make(self._llg, grammar)
        if matcher.is_error():
            raise ValueError(f"LLGuidance matcher error: {matcher.get_error()}")
        return matcher

    def _allowed(self, matcher: Any) -> list[int]:
        mask = llguidance.numpy.allocate_token_bitmask(1, self._llg.vocab_size)
        llguidance.numpy.fill_next_token_bitmask(matcher, mask, 0)
        return np.flatnonzero(np.unpackbits(mask[0].view(np.uint8), bitorder="little")).tolist()

    def _tell(self) -> None:
        self._iterations += 1
        active = len(self._requests)
        self.figures.put(
            {
                "iter": self._iterations,
                "numActiveRequests": min(active, self._max_batch_size),
                "numQueuedRequests": max(0, active - self._max_batch_size),
                "kvCacheStats": {
                    "maxNumBlocks": 1000,
                    "usedNumBlocks": 10 * active,
                    "freeNumBlocks": 1000 - 10 * active,
                    "tokensPerBlock": self._tokens_per_block,
                    "reusedBlocks": self._hits,
                    "missedBlocks": self._misses,
                },
            }
        )
