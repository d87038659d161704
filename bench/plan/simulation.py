"""Continuous batching, simulated step by step as the native engine's scheduler does it: no tokens, only their counts and times."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass

import numpy as np

from .outcome import Outcome
from .step_model import StepModel
from .workload import Workload


@dataclass(frozen=True)
class EngineLimits:
    """What bounds a step and the cache; ``kv_tokens`` are all that the cache holds."""

    max_num_seqs: int
    max_num_batched_tokens: int
    kv_tokens: int
    block_size: int = 16


def simulate(workload: Workload, model: StepModel, limits: EngineLimits, *, clients: int | None = None) -> Outcome:
    """The workload on one replica, from empty to empty.

    Open loop by default. With ``clients`` the times of arrival don't count: so many clients send the requests in their
    order, each its next one when its last has ended.

    Raises ValueError for a request that is longer than the whole cache.
    """
    if workload.longest > limits.kv_tokens // limits.block_size * limits.block_size:
        raise ValueError(f"a request of {workload.longest} tokens never fits into {limits.kv_tokens}")
    return _Replica(workload, model, limits, clients).run()


@dataclass(slots=True)
class _Prefill:
    request: int
    computed: int
    target: int


class _Replica:
    """One engine's state. Sequences that decode all grow by a token in each step, so they are kept as sums and not one by one:

    the sequence of request i covers ``_base[i] + step`` tokens in a step, ``_context`` is the sum of these over all, and
    ``_crossings[step % block_size]`` of them need another block. So a step costs the same however many decode.
    """

    def __init__(self, workload: Workload, model: StepModel, limits: EngineLimits, clients: int | None) -> None:
        self._model, self._limits = model, limits
        self._inputs: list[int] = workload.input_tokens.tolist()
        self._outputs: list[int] = workload.output_tokens.tolist()
        self._cached: list[int] = workload.cached_tokens.tolist()
        count = len(workload)
        self._sent: list[float] = workload.at.tolist()
        self._first = [-1.0] * count
        self._ended = [-1.0] * count
        self._generated = [0] * count
        first_sent = count if clients is None else min(clients, count)
        self._unsent = deque(range(first_sent, count))
        if clients is not None:
            self._sent = [0.0] * count
        self._arrivals = deque((self._sent[one] + model.request, one) for one in range(first_sent))
        self._waiting: list[int] = []  # a heap: the first to come is the first to be served
        self._prefills: list[_Prefill] = []  # in the order of their requests
        self._decoding = 0
        self._base: dict[int, int] = {}
        self._context = 0
        self._crossings = [0] * limits.block_size
        self._last_steps: list[
            tuple[int, int]
        ] = []  # a heap of (step of the last token, request); may hold preempted ones
        self._last_step: dict[int, int] = {}
        self._num_blocks = limits.kv_tokens // limits.block_size
        self._free = self._num_blocks
        self._reserve = max(1, self._num_blocks // 100)
        self._step = 0
        self._now = 0.0
        self._preemptions = 0

    def run(self) -> Outcome:
        """Step until nothing is left."""
        model = self._model
        durations: list[float] = []
        decoding: list[int] = []
        step_tokens = peak_running = 0
        least_free = self._free
        while True:
            while self._arrivals and self._arrivals[0][0] <= self._now:
                heapq.heappush(self._waiting, self._arrivals.popleft()[1])
            if not (self._decoding or self._prefills or self._waiting):
                if not self._arrivals:
                    break
                self._now = self._arrivals[0][0]
                continue
            may_admit = self._grow_decodes()
            decodes = tokens = rows = sequences = self._decoding
            pairs = cached = self._context
            budget = self._limits.max_num_batched_tokens - decodes
            if self._prefills or (may_admit and self._waiting):
                chunks = self._chunks_and_admissions(budget) if may_admit else self._chunks(budget)
                for prefill, chunk in chunks:
                    pairs += chunk * prefill.computed + chunk * (chunk + 1) // 2
                    prefill.computed += chunk
                    cached += prefill.computed
                    tokens += chunk
                    sequences += 1
                    rows += prefill.computed == prefill.target
            seconds = model.seconds(tokens, rows, sequences, pairs, cached)
            self._now += seconds
            durations.append(seconds)
            decoding.append(decodes)
            step_tokens += tokens
            least_free = min(least_free, self._free)
            peak_running = max(peak_running, sequences)
            self._end_step()
        return Outcome(
            sent=np.array(self._sent),
            first=np.array(self._first),
            ended=np.array(self._ended),
            input_tokens=np.array(self._inputs),
            output_tokens=np.array(self._outputs),
            step_seconds=np.array(durations),
            step_decodes=np.array(decoding),
            step_tokens=step_tokens,
            busy=sum(durations) / (max(self._ended) - min(self._sent)),
            preemptions=self._preemptions,
            peak_running=peak_running,
            peak_kv_use=1 - least_free / self._num_blocks,
        )

    def _grow_decodes(self) -> bool:
        """Give each decode its next token's place, preempting the last to come where blocks run out. Whether none was."""
        slot = self._step % self._limits.block_size
        before = self._preemptions
        while self._crossings[slot] > self._free:
            self._preempt(max(max(self._base, default=-1), self._prefills[-1].request if self._prefills else -1))
        self._free -= self._crossings[slot]
        return self._preemptions == before

    def _chunks(self, budget: int) -> list[tuple[_Prefill, int]]:
        found = []
        for prefill in self._prefills:
            if budget == 0:
                break
            chunk = min(prefill.target - prefill.computed, budget)
            found.append((prefill, chunk))
            budget -= chunk
        return found

    def _chunks_and_admissions(self, budget: int) -> list[tuple[_Prefill, int]]:
        found = self._chunks(budget)
        budget -= sum(chunk for _, chunk in found)
        while budget > 0 and self._waiting:
            running = self._decoding + len(self._prefills)
            request = self._waiting[0]
            target = self._inputs[request] + self._generated[request]
            blocks = self._blocks(target)
            if running >= self._limits.max_num_seqs or blocks + (self._reserve if running else 0) > self._free:
                break
            heapq.heappop(self._waiting)
            self._free -= blocks
            # What was preempted is computed again from its start: its blocks went to those it was preempted for.
            computed = 0 if self._generated[request] else self._cached[request]
            prefill = _Prefill(request, computed, target)
            self._prefills.append(prefill)
            chunk = min(target - computed, budget)
            found.append((prefill, chunk))
            budget -= chunk
        self._prefills.sort(key=lambda prefill: prefill.request)
        return found

    def _end_step(self) -> None:
        step, now = self._step, self._now
        self._context += self._decoding
        while self._last_steps and self._last_steps[0][0] <= step:
            last, request = heapq.heappop(self._last_steps)
            if self._last_step.get(request) == last:
                covered = self._stop_decoding(request, step)
                self._free += self._blocks(covered)
                self._end(request)
        if self._prefills and any(prefill.computed == prefill.target for prefill in self._prefills):
            for prefill in self._prefills:
                if prefill.computed == prefill.target:
                    self._finish_prefill(prefill, now)
            self._prefills = [prefill for prefill in self._prefills if prefill.computed < prefill.target]
        self._step += 1

    def _finish_prefill(self, prefill: _Prefill, now: float) -> None:
        request, step = prefill.request, self._step
        if self._first[request] < 0:
            self._first[request] = now
        self._generated[request] += 1
        left = self._outputs[request] - self._generated[request]
        if left == 0:
            self._free += self._blocks(prefill.target)
            self._end(request)
            return
        base = prefill.target - step
        self._base[request] = base
        self._decoding += 1
        self._context += prefill.target + 1
        self._crossings[(1 - base) % self._limits.block_size] += 1
        self._last_step[request] = step + left
        heapq.heappush(self._last_steps, (step + left, request))

    def _stop_decoding(self, request: int, step: int) -> int:
        """Take a sequence out of the sums, which are those of the step after ``step``; the tokens that it covers in ``step``."""
        base = self._base.pop(request)
        del self._last_step[request]
        self._decoding -= 1
        self._context -= base + step + 1
        self._crossings[(1 - base) % self._limits.block_size] -= 1
        return base + step

    def _preempt(self, request: int) -> None:
        self._preemptions += 1
        if request in self._base:
            covered = self._stop_decoding(request, self._step - 1)
            self._generated[request] = covered + 1 - self._inputs[request]
        else:
            covered = self._prefills.pop().target
        self._free += self._blocks(covered)
        heapq.heappush(self._waiting, request)

    def _end(self, request: int) -> None:
        self._ended[request] = self._now
        if self._unsent:
            following = self._unsent.popleft()
            self._sent[following] = self._now
            self._arrivals.append((self._now + self._model.request, following))

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self._limits.block_size)
