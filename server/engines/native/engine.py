"""The step loop's engine: sequences in, tokens out. Runs in the engine's process, on one thread."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.messages import Logprobs, Progress, Stats, Submit
from pennyweight.server.errors import InvalidRequest
from pennyweight.server.types import Adapter, Constraint, FinishReason

from .adapter_slots import AdapterSlots
from .batch import Batch, PositionLogprobs, StepResult
from .beam_group import BeamGroups
from .block_manager import BlockManager
from .cost import ModelCost
from .scheduler import Scheduler
from .sequence import Sequence, SequenceStatus
from .work import WorkMeter

if TYPE_CHECKING:
    from pennyweight.kernels.low_rank import LowRank
    from pennyweight.server.engines.local.grammar import Matcher


class Runner(Protocol):
    """What the engine needs of a model runner."""

    max_model_len: int
    block_size: int
    num_blocks: int
    max_prompt_logprob_rows: int
    max_step_tokens: int
    cost: ModelCost

    @property
    def progress(self) -> int: ...

    def execute(self, batch: Batch) -> StepResult: ...

    def release(self, sequence: Sequence) -> None: ...

    def copy_blocks(self, copies: list[tuple[int, int]]) -> None: ...

    def load_adapter(self, adapter: Adapter) -> list[LowRank | None]: ...

    def place_adapter(self, slot: int, adapter: list[LowRank | None]) -> None: ...


class Compiler(Protocol):
    """What the engine needs of a grammar compiler."""

    def compile(self, constraint: Constraint) -> Matcher: ...


class NativeEngineCore:
    """Continuous batching around a model runner.

    ``submit`` and ``abort`` between steps, ``step`` while ``has_work``. Grammars are compiled and adapters loaded beside the
    step loop; the sequences that want them join the queue when that is done. Not thread-safe.
    """

    def __init__(self, runner: Runner, compiler: Compiler, settings: EngineSettings) -> None:
        self._runner = runner
        self._compiler = compiler
        self._compile_pool = ThreadPoolExecutor(1, thread_name_prefix="grammar")
        self._adapters = AdapterSlots(settings.max_loras, runner.load_adapter, runner.place_adapter)
        # Requests, in the order in which they came, whose grammars (if any) or adapters are not there yet.
        self._preparing: dict[str, tuple[Submit, Future[list[Matcher]] | None]] = {}
        self._requests: dict[str, list[Sequence]] = {}
        self._prompt_logprobs: dict[str, list[Logprobs]] = {}
        self.blocks = BlockManager(
            runner.num_blocks, runner.block_size, enable_prefix_caching=settings.enable_prefix_caching
        )
        self.scheduler = Scheduler(
            self.blocks,
            max_num_seqs=settings.max_num_seqs,
            max_num_batched_tokens=runner.max_step_tokens,
            max_prompt_logprob_rows=runner.max_prompt_logprob_rows,
            on_release=self._released,
        )
        self._beam_groups = BeamGroups(self.scheduler, runner.copy_blocks, self._retire)
        self._work = WorkMeter(runner.cost, started=time.monotonic())

    @property
    def has_work(self) -> bool:
        return bool(self._requests)

    @property
    def progress(self) -> int:
        """A number that changes while a step gets on. Any thread may ask for it."""
        return self._runner.progress

    @property
    def is_preparing(self) -> bool:
        """Whether nothing can run until a grammar is compiled or an adapter loaded."""
        return bool(self._preparing) and not self.scheduler.running and not self.scheduler.waiting

    def submit(self, message: Submit) -> None:
        """Take a request up."""
        constraint = message.constraint
        if constraint is None and message.adapter is None:
            self._enqueue(message, [None] * len(message.seeds), -1)
            return
        self._requests[message.request_id] = []
        future = None
        if constraint is not None:
            future = self._compile_pool.submit(lambda: [self._compiler.compile(constraint) for _ in message.seeds])
        self._preparing[message.request_id] = message, future

    def abort(self, request_id: str, index: int | None = None) -> None:
        """Drop a request, or one choice of it, and free its blocks at once. Unknown ids are ignored: it may have ended."""
        if index is None and (preparing := self._preparing.pop(request_id, None)):
            self._adapters.drop(request_id)
            if preparing[1] is not None:
                preparing[1].cancel()
        sequences = self._requests.get(request_id, [])
        for sequence in [one for one in sequences if index is None or one.index == index]:
            self._retire(sequence)
        if index is None:
            self._requests.pop(request_id, None)

    def step(self) -> list[Progress]:
        """Compute one batch, and say what it brought."""
        now = time.monotonic()
        progress = self._collect_prepared()
        batch = self.scheduler.schedule()
        if not batch.items:
            self._work.rest()
            return progress
        self._work.begin(batch, now)
        now = time.monotonic()
        for item in batch.items:
            if item.sequence.queue_seconds is None:
                item.sequence.queue_seconds = max(0.0, now - item.sequence.arrival)
        result = self._runner.execute(batch)
        self.scheduler.advance(batch)
        self._keep_prompt_logprobs(batch, result)
        chosen = 0
        for item in batch.items:
            sequence = item.sequence
            if sequence.num_computed == sequence.num_tokens:
                logprobs = result.logprobs[chosen]
                if (row_hash := result.row_hashes.get(chosen)) is not None:
                    sequence.note_logits(row_hash)
                if sequence.request_id not in self._beam_groups:
                    progress.append(self._append(sequence, int(result.token_ids[chosen]), logprobs))
                elif logprobs is not None:
                    self._beam_groups.report(sequence, logprobs)
                chosen += 1
        progress += self._beam_groups.advance()
        self._work.end(time.monotonic(), goes_on=self.has_work)
        return progress

    def stats(self) -> Stats:
        """The state now."""
        return Stats(
            running=len(self.scheduler.running),
            waiting=len(self.scheduler.waiting) + len(self._preparing),
            kv_cache_usage=self.blocks.usage,
            prefix_queries=self.scheduler.prefix_queries,
            prefix_hits=self.scheduler.prefix_hits,
            preemptions=self.scheduler.num_preemptions,
            work=self._work.total(time.monotonic()),
        )

    def check_integrity(self) -> None:
        """Raise AssertionError unless blocks, queues and requests agree."""
        alive = list(self.scheduler.sequences())
        self.blocks.check_integrity(alive)
        assert set(alive) == {one for sequences in self._requests.values() for one in sequences}
        assert len(self.scheduler.running) <= self.scheduler.max_num_seqs

    def close(self) -> None:
        """Stop compiling grammars and loading adapters."""
        self._adapters.close()
        self._compile_pool.shutdown(wait=False, cancel_futures=True)

    def _enqueue(self, message: Submit, matchers: Iterable[Matcher | None], adapter_slot: int) -> None:
        prompt = np.frombuffer(message.prompt, dtype="<i4")
        capacity = min(len(prompt) + message.max_tokens, self._runner.max_model_len)
        sequences: list[Sequence] = []
        choices = list(zip(message.seeds, matchers, strict=True))
        for index, (seed, matcher) in enumerate(choices if message.beam_search is None else choices[:1]):
            tokens = np.empty(max(capacity, len(prompt)), dtype=np.int32)
            tokens[: len(prompt)] = prompt
            sequences.append(
                Sequence(
                    request_id=message.request_id,
                    index=index,
                    tokens=tokens,
                    num_prompt=len(prompt),
                    max_tokens=message.max_tokens,
                    choice=msgspec.structs.replace(message.choice, seed=seed),
                    priority=message.priority,
                    arrival=message.arrival,
                    matcher=matcher,
                    leader=sequences[0] if sequences else None,
                    adapter_slot=adapter_slot,
                    salt=message.salt,
                    hash_logits=message.hash_logits,
                )
            )
        self._requests[message.request_id] = sequences
        if message.beam_search is not None:
            self._beam_groups.add(message, message.beam_search, sequences)
        for sequence in sequences:
            self.scheduler.add(sequence)

    def _collect_prepared(self) -> list[Progress]:
        refused: list[Progress] = []
        for request_id, (message, compiling) in list(self._preparing.items()):
            adapter = message.adapter
            try:
                slot = -1 if adapter is None else self._adapters.take(request_id, adapter)
                if slot is None or (compiling is not None and not compiling.done()):
                    continue
                matchers = [None] * len(message.seeds) if compiling is None else compiling.result()
                del self._preparing[request_id]
                self._enqueue(message, matchers, slot)
            except InvalidRequest as error:
                self.abort(request_id)
                refused += [
                    Progress(request_id, index, [], error=error.message, param=error.param)
                    for index in range(len(message.seeds))
                ]
        return refused

    def _keep_prompt_logprobs(self, batch: Batch, result: StepResult) -> None:
        for position, found in result.prompt_logprobs.items():
            item = batch.items[position]
            sequence = item.sequence
            if sequence.index > 0 or sequence.num_output > 0:
                continue  # the same for every choice, and told already when a preempted one is computed again
            first = sequence.num_computed - item.num_new + 1
            self._prompt_logprobs.setdefault(sequence.request_id, []).extend(
                _logprobs(int(sequence.tokens[first + offset]), one) for offset, one in enumerate(found)
            )

    def _append(self, sequence: Sequence, token_id: int, logprobs: PositionLogprobs | None) -> Progress:
        choice = sequence.choice
        finish_reason = None
        stop_token_id = None
        token_ids = [token_id]
        if sequence.max_tokens == 0:
            # Only the prompt was asked about.
            token_ids, finish_reason = [], FinishReason.LENGTH
        elif token_id in choice.stop_token_ids:
            finish_reason, stop_token_id = FinishReason.STOP, token_id
        else:
            sequence.append(token_id)
            matcher = sequence.matcher
            if matcher is not None:
                matcher.accept(token_id)
            if matcher is not None and matcher.is_finished():
                finish_reason = FinishReason.STOP
            elif sequence.num_output >= sequence.max_tokens or sequence.num_tokens >= self._runner.max_model_len:
                finish_reason = FinishReason.LENGTH
        error = sequence.matcher.error() if sequence.matcher is not None else None
        progress = Progress(
            sequence.request_id,
            sequence.index,
            token_ids,
            [_logprobs(token_id, logprobs)] if logprobs is not None and token_ids else [],
            finish_reason,
            stop_token_id,
            sequence.num_cached,
            sequence.queue_seconds or 0.0,
            self._prompt_logprobs.pop(sequence.request_id, []) if sequence.index == 0 else [],
            error,
            logits_hashes=sequence.logits_hash.to_bytes(8, "big") if sequence.hash_logits and token_ids else b"",
        )
        if finish_reason is not None or error is not None:
            self._retire(sequence)
        return progress

    def _released(self, sequence: Sequence) -> None:
        self._runner.release(sequence)
        if sequence.index == 0:
            self._prompt_logprobs.pop(sequence.request_id, None)

    def _retire(self, sequence: Sequence) -> None:
        if sequence.status is SequenceStatus.FINISHED:
            return
        self.scheduler.finish(sequence)
        remaining = self._requests[sequence.request_id]
        remaining.remove(sequence)
        if not remaining:
            del self._requests[sequence.request_id]
            self._beam_groups.drop(sequence.request_id)
            self._adapters.drop(sequence.request_id)


def _logprobs(token_id: int, found: PositionLogprobs) -> Logprobs:
    return Logprobs(token_id, found.token_logprob, found.top_ids.tolist(), found.top_logprobs.tolist())
