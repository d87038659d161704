"""Forward passes that do one thing many times over, so that a kernel is timed as the engine runs it: from a recorded program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pennyweight.kernels.backend import Backend, Forward
from pennyweight.kernels.geometry import Geometry
from pennyweight.kernels.step import Step

from .timing import median_seconds

BLOCK_SIZE = 16


@dataclass(frozen=True, slots=True)
class Heads:
    """The attention of a model: ``queries`` heads over ``keys`` heads, each ``dim`` wide."""

    queries: int = 1
    keys: int = 1
    dim: int = 16


def geometry(
    width: int, max_tokens: int, *, layers: int = 1, heads: Heads = Heads(), contexts: Sequence[int] = ()
) -> Geometry:
    """Sizes for steps of up to ``max_tokens`` tokens over rows of ``width``; room for sequences of these contexts."""
    longest = max((*contexts, BLOCK_SIZE))
    blocks = sum(-(-context // BLOCK_SIZE) for context in contexts) or max_tokens
    angles = torch.zeros(longest, heads.dim // 2)
    return Geometry(
        num_layers=layers,
        hidden_size=width,
        intermediate_size=width,
        num_heads=heads.queries,
        num_kv_heads=heads.keys,
        head_dim=heads.dim,
        vocab_size=1,
        max_model_len=longest,
        rope_cos=angles.cos(),
        rope_sin=angles.sin(),
        block_size=BLOCK_SIZE,
        num_blocks=blocks,
        max_tokens=max_tokens,
        max_seqs=max_tokens,
        max_logit_rows=max_tokens,
    )


def decode_step(contexts: Sequence[int], device: torch.device) -> Step:
    """One new token for each of the sequences, the last of its context."""
    widest = max(-(-context // BLOCK_SIZE) for context in contexts)
    tables, slots, first = torch.zeros(len(contexts), widest, dtype=torch.int32), [], 0
    for index, context in enumerate(contexts):
        count = -(-context // BLOCK_SIZE)
        tables[index, :count] = torch.arange(first, first + count, dtype=torch.int32)
        slots.append(first * BLOCK_SIZE + context - 1)
        first += count
    places = [context - 1 for context in contexts]
    starts = list(range(len(contexts) + 1))
    return _step(places, slots, starts, list(contexts), tables, device)


def prefill_step(computed: int, tokens: int, device: torch.device) -> Step:
    """The next tokens of one sequence, after those that are in the cache."""
    context = computed + tokens
    tables = torch.arange(-(-context // BLOCK_SIZE), dtype=torch.int32)[None]
    places = list(range(computed, context))
    return _step(places, places, [0, tokens], [context], tables, device)


def seconds_each(
    make: Callable[[], Backend], forward: Callable[[Backend, int], Forward], sizes: Geometry, step: Step, copies: int
) -> float:
    """Seconds of one of ``copies`` repetitions: a pass with all of them less one with none.

    ``forward(backend, count)`` prepares what it needs and gives the pass with so many.
    """
    seconds = []
    for count in (copies, 0):
        backend = make()
        prepared = forward(backend, count)
        backend.allocate(sizes)
        backend.capture(prepared)
        seconds.append(median_seconds(lambda backend=backend: backend.run(step), backend.device))  # type: ignore[misc]
    return max(seconds[0] - seconds[1], 1e-9) / copies


def _step(
    places: list[int], slots: list[int], starts: list[int], contexts: list[int], tables: Tensor, device: torch.device
) -> Step:
    def int32(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int32, device=device)

    return Step(
        token_ids=int32([0] * len(places)),
        positions=int32(places),
        slots=int32(slots),
        query_start=int32(starts),
        context_lens=int32(contexts),
        block_tables=tables.to(device),
        logit_rows=int32(list(range(len(places)))),
        max_context=max(contexts),
    )
