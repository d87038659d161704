"""Which sequences run in the next step, and with how many tokens each: continuous batching with chunked prefill."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping

from .batch import Batch, ScheduledSequence
from .block_manager import BlockManager
from .sequence import Sequence, SequenceStatus


def _rank(sequence: Sequence) -> tuple[int, float, str, int]:
    """Order of service: lower priority value first, then first come, first served; ids make it total."""
    return sequence.priority, sequence.arrival, sequence.request_id, sequence.index


class Scheduler:
    """Continuous batching (Orca, OSDI '22) over paged blocks (vLLM, SOSP '23) with chunked prefill (Sarathi, OSDI '24).

    Each step has a budget of ``max_num_batched_tokens``. Running sequences that decode come first, so that prompts
    never delay them by more than a step; prompts under way take what is left, then waiting sequences are admitted in the
    order of their rank while their whole prompt fits. When blocks run out, the sequence of the lowest rank is
    preempted: it gives its blocks back and is computed again later, mostly from the prefix cache. Held sequences keep their
    blocks while there is room for others.

    A waiting sequence of a strictly better priority displaces the running sequence of the lowest rank. ``on_release``
    is called for each sequence that leaves the running ones, whatever the reason. Not thread-safe.
    """

    def __init__(
        self,
        blocks: BlockManager,
        *,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        max_prompt_logprob_rows: int,
        on_release: Callable[[Sequence], None] = lambda _: None,
    ) -> None:
        if max_num_batched_tokens < max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens ({max_num_batched_tokens}) must not be below max_num_seqs ({max_num_seqs})"
            )
        self.blocks = blocks
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens
        self.max_prompt_logprob_rows = max_prompt_logprob_rows
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.num_preemptions = 0
        self.prefix_queries = 0
        self.prefix_hits = 0
        self._on_release = on_release
        # Blocks kept free at admission, so that a sequence just admitted is not preempted by the next decode steps.
        self._reserve = max(1, blocks.num_blocks // 100)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence. One that could never fit raises ValueError."""
        capacity = min(len(sequence.tokens), sequence.num_prompt + sequence.max_tokens)
        if self.blocks.blocks_for(capacity) > self.blocks.num_blocks:
            raise ValueError(f"{capacity} tokens need more than all {self.blocks.num_blocks} blocks")
        sequence.status = SequenceStatus.WAITING
        bisect.insort(self.waiting, sequence, key=_rank)

    def fork(self, parent: Sequence, child: Sequence) -> tuple[int, int] | None:
        """Let a child that was made from its parent go on where that is: beside it if there is room, else from the queue.

        Returns the block (from, to) that must be copied before the next step, if there is one.
        """
        parent.num_slots, child.num_slots = max(1, parent.num_slots - 1), 1
        has_room = parent.status is SequenceStatus.RUNNING and len(self.running) < self.max_num_seqs
        if not has_room or not self.blocks.fork(parent, child):
            child.num_computed = 0
            self.add(child)
            return None
        child.status = SequenceStatus.RUNNING
        self.running.append(child)
        source, destination = parent.block_table[-1], child.block_table[-1]
        return None if source == destination else (source, destination)

    def finish(self, sequence: Sequence) -> None:
        """Take a sequence out, waiting or running, and free what it holds. Idempotent."""
        if sequence.status is SequenceStatus.RUNNING:
            self.running.remove(sequence)
            self._release(sequence)
        elif sequence.status is SequenceStatus.WAITING:
            self.waiting.remove(sequence)
        sequence.status = SequenceStatus.FINISHED

    def sequences(self) -> Iterator[Sequence]:
        """All that are waiting or running."""
        yield from self.running
        yield from self.waiting

    def schedule(self) -> Batch:
        """The next step's work; empty when nothing can run. Grows the block tables for it."""
        scheduled: dict[Sequence, int] = {}
        budget = self.max_num_batched_tokens
        preempted = False
        for sequence in self._decodes_first():
            if budget == 0:
                break
            if sequence.status is not SequenceStatus.RUNNING:
                continue  # preempted for one before it
            num_new = self._chunk(sequence, budget)
            while not self.blocks.grow(sequence, sequence.num_computed + num_new):
                preempted = True
                victim = max(self.running, key=_rank)
                budget += scheduled.pop(victim, 0)
                self._preempt(victim)
                if victim is sequence:
                    break
            else:
                scheduled[sequence] = num_new
                budget -= num_new
        if not preempted:
            self._admit(scheduled, budget)
        return Batch(tuple(ScheduledSequence(sequence, num_new) for sequence, num_new in scheduled.items()))

    def advance(self, batch: Batch) -> None:
        """Note that a batch was computed: its tokens have keys and values now, and full blocks become findable."""
        for item in batch.items:
            sequence = item.sequence
            before = sequence.num_computed
            sequence.num_computed = before + item.num_new
            sequence.num_ever_computed = max(sequence.num_ever_computed, sequence.num_computed)
            self.blocks.commit(sequence, before)

    def _decodes_first(self) -> Iterable[Sequence]:
        decodes = [sequence for sequence in self.running if sequence.is_prefilled and not sequence.is_held]
        prefills = [sequence for sequence in self.running if not sequence.is_prefilled]
        return decodes + sorted(prefills, key=_rank)

    def _chunk(self, sequence: Sequence, budget: int) -> int:
        num_new = min(sequence.num_tokens - sequence.num_computed, budget)
        if sequence.choice.prompt_logprobs is not None:
            num_new = min(num_new, self.max_prompt_logprob_rows)
        return num_new

    def _admit(self, scheduled: dict[Sequence, int], budget: int) -> None:
        position = 0
        while budget > 0 and position < len(self.waiting):
            sequence = self.waiting[position]
            leader = sequence.leader
            if sequence.is_held:
                position += 1
                continue
            if leader is not None and leader.status is not SequenceStatus.FINISHED and not leader.is_prefilled:
                position += 1  # its prompt is being computed, or waits before it
                continue
            prefix = self.blocks.cached_prefix(sequence)
            while not (self._has_slots(sequence) and self._fits(sequence, prefix)):
                victim = self._displaced_by(sequence, scheduled)
                if victim is None:
                    return  # nobody overtakes: what waits longest is served first, however large
                budget += scheduled.pop(victim, 0)
                self._preempt(victim)
                prefix = self.blocks.cached_prefix(sequence)
            self.waiting.remove(sequence)
            self.blocks.adopt(sequence, prefix)
            if sequence.num_output == 0:
                sequence.num_cached = sequence.num_computed
                self.prefix_queries += sequence.num_prompt
                self.prefix_hits += sequence.num_computed
            # All of its blocks at once: prompts that are admitted side by side must not starve each other half way.
            self.blocks.grow(sequence, sequence.num_tokens)
            num_new = self._chunk(sequence, budget)
            sequence.status = SequenceStatus.RUNNING
            self.running.append(sequence)
            scheduled[sequence] = num_new
            budget -= num_new

    def _displaced_by(self, sequence: Sequence, scheduled: Mapping[Sequence, int]) -> Sequence | None:
        victim = max(self.running, key=_rank, default=None)
        if victim is not None and victim.priority > sequence.priority:
            return victim
        if scheduled:
            return None
        # Whoever runs is held, perhaps for the very sequence that waits: nothing would ever be computed again.
        return max((one for one in self.running if one.is_held), key=_rank, default=None)

    def _has_slots(self, sequence: Sequence) -> bool:
        # With those for its forks, so that it need not wait for them later, with all that it holds.
        taken = sum(one.num_slots for one in self.running)
        return taken + min(sequence.num_slots, self.max_num_seqs) <= self.max_num_seqs

    def _fits(self, sequence: Sequence, prefix: list[int]) -> bool:
        # With nothing else running there is nobody to keep a reserve for.
        return self.blocks.can_admit(sequence, prefix, reserve=self._reserve if self.running else 0)

    def _preempt(self, sequence: Sequence) -> None:
        self.num_preemptions += 1
        self.running.remove(sequence)
        self._release(sequence)
        self.add(sequence)

    def _release(self, sequence: Sequence) -> None:
        self.blocks.free(sequence)
        self._on_release(sequence)
