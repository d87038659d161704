"""Adds up what the engine's steps cost and how its time was spent."""

from __future__ import annotations

from dataclasses import dataclass

from pennyweight.server.engines.base import EngineWork

from .batch import Batch
from .cost import ModelCost


@dataclass(slots=True)
class _Phase:
    """What a step, or all of them, did for one purpose: ``attended`` counts (token, token of its context) pairs."""

    tokens: int = 0
    attended: int = 0
    rows: int = 0

    def take(self, first: int, end: int) -> None:
        """Tokens at the positions from ``first`` to ``end``, each of which attends to those up to its own."""
        if end > first:
            self.tokens += end - first
            self.attended += (end * (end + 1) - first * (first + 1)) // 2

    def flops(self, cost: ModelCost) -> int:
        return self.tokens * cost.token_flops + self.attended * cost.attention_flops + self.rows * cost.logits_flops


class WorkMeter:
    """``begin`` and ``end`` each step, in this order; ``rest`` where there was nothing to compute. Not thread-safe.

    A position below what its sequence had computed before is recomputed, another one of the prompt is prefill, and the rest is
    decode. A step's seconds run from the last one's end while there is work, so that what lies between them counts too.
    Times are in seconds of one monotonic clock.
    """

    def __init__(self, cost: ModelCost, *, started: float) -> None:
        self._cost = cost
        self._total = _Totals()
        self._step: tuple[int, int, int] = (0, 0, 0)
        self._began = started
        # Since when there has been nothing to do, or else when the last step ended. Idle time is added up by itself: what is
        # left of the rest would fall now and then by a rounding, and a counter that falls is taken for one that began anew.
        self._idle_since: float | None = started
        self._last_end = started

    def begin(self, batch: Batch, now: float) -> None:
        """Count a batch that is about to be computed; its sequences' progress must still be that before it."""
        prefill, decode, recompute = _Phase(), _Phase(), _Phase()
        context = num_decoding = attended = 0
        for item in batch.items:
            sequence = item.sequence
            first = sequence.num_computed
            end = first + item.num_new
            context += end
            if item.num_new == 1 and first >= sequence.num_prompt and first >= sequence.num_ever_computed:
                # Most of a large batch: an output token, added up without a call for each.
                num_decoding += 1
                attended += end
                continue
            again = min(end, max(first, sequence.num_ever_computed))
            prompt = min(end, max(again, sequence.num_prompt))
            recompute.take(first, again)
            prefill.take(again, prompt)
            decode.take(prompt, end)
            if end == sequence.num_tokens:
                (decode if end > prompt else prefill if end > again else recompute).rows += 1
        decode.tokens += num_decoding
        decode.rows += num_decoding
        decode.attended += attended
        cost, total = self._cost, self._total
        self._step = prefill.flops(cost), decode.flops(cost), recompute.flops(cost)
        if self._idle_since is None:
            self._began = self._last_end
        else:
            self._began = now
            total.idle_seconds += now - self._idle_since
            self._idle_since = None
        tokens = prefill.tokens + decode.tokens + recompute.tokens
        total.flops += self._step[0] + self._step[1]
        total.read_bytes += cost.weight_bytes + tokens * cost.token_bytes + context * cost.kv_bytes
        total.write_bytes += tokens * cost.kv_bytes
        total.prefill_tokens += prefill.tokens
        total.decode_tokens += decode.tokens
        total.recomputed_tokens += recompute.tokens
        if prefill.tokens and decode.tokens:
            total.mixed_steps += 1
        elif decode.tokens:
            total.decode_steps += 1
        else:
            total.prefill_steps += 1

    def end(self, now: float, *, goes_on: bool) -> None:
        """The batch was computed; ``goes_on`` says that there is more to do."""
        total, seconds = self._total, now - self._began
        prefill, decode, recompute = self._step
        share = seconds / max(1, prefill + decode + recompute)
        total.prefill_seconds += prefill * share
        total.decode_seconds += decode * share
        total.recompute_seconds += recompute * share
        self._last_end = now
        self._idle_since = None if goes_on else now

    def rest(self) -> None:
        """Nothing could be computed: the time from the last step to the next one is idle."""
        if self._idle_since is None:
            self._idle_since = self._last_end

    def total(self, now: float) -> EngineWork:
        """Everything so far."""
        total = self._total
        return EngineWork(
            flops=float(total.flops),
            read_bytes=float(total.read_bytes),
            write_bytes=float(total.write_bytes),
            prefill_seconds=total.prefill_seconds,
            decode_seconds=total.decode_seconds,
            recompute_seconds=total.recompute_seconds,
            idle_seconds=total.idle_seconds + (now - self._idle_since if self._idle_since is not None else 0.0),
            prefill_tokens=total.prefill_tokens,
            decode_tokens=total.decode_tokens,
            recomputed_tokens=total.recomputed_tokens,
            prefill_steps=total.prefill_steps,
            decode_steps=total.decode_steps,
            mixed_steps=total.mixed_steps,
        )


@dataclass(slots=True)
class _Totals:
    """EngineWork while it grows; FLOPs and bytes are whole numbers here, so that no addition is rounded away."""

    flops: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    recompute_seconds: float = 0.0
    idle_seconds: float = 0.0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    recomputed_tokens: int = 0
    prefill_steps: int = 0
    decode_steps: int = 0
    mixed_steps: int = 0
