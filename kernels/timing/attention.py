"""Paged attention: decode of several sequences, and prefill after a prefix that is in the cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from pennyweight.kernels.backend import Backend, Forward
from pennyweight.kernels.ops import Ops, Projection
from pennyweight.kernels.step import Step

from .passes import Heads, decode_step, geometry, prefill_step, seconds_each
from .products import Make
from .timing import Timing, median_seconds

# The KV cache of so many layers: no cache of the processor holds it.
LAYERS = 24


def time_decode(make: Make, heads: Heads, contexts: Sequence[int], by: str) -> Timing:
    """One query for each sequence over its whole context."""
    step = decode_step(contexts, make().device)
    seconds = _seconds(make, heads, step, contexts)
    return _timing("attention decode", by, heads, len(contexts), contexts[0], contexts[0], seconds)


def time_prefill(make: Make, heads: Heads, computed: int, tokens: int, by: str) -> Timing:
    """Queries of one sequence, each over what comes before it."""
    step = prefill_step(computed, tokens, make().device)
    seconds = _seconds(make, heads, step, [computed + tokens])
    return _timing("attention prefill", by, heads, tokens, computed + tokens, computed + (tokens + 1) / 2, seconds)


def time_torch_decode(heads: Heads, contexts: Sequence[int], device: torch.device) -> Timing:
    """By scaled_dot_product_attention over keys and values that lie in one piece."""
    seqs, length = len(contexts), contexts[0]
    query = torch.randn(seqs, heads.queries, 1, heads.dim, device=device, dtype=torch.bfloat16)
    layers = [
        torch.randn(2, seqs, heads.keys, length, heads.dim, device=device, dtype=torch.bfloat16) for _ in range(LAYERS)
    ]

    def act() -> None:
        for keys, values in layers:
            functional.scaled_dot_product_attention(query, keys, values, enable_gqa=True)

    seconds = median_seconds(act, device) / LAYERS
    return _timing("attention decode", "torch", heads, seqs, length, length, seconds)


def _seconds(make: Make, heads: Heads, step: Step, contexts: Sequence[int]) -> float:
    width = (heads.queries + 2 * heads.keys) * heads.dim

    def forward(backend: Backend, count: int) -> Forward:
        ops = backend.ops
        table = ops.prepare_table(torch.randn(1, width))
        reader = ops.prepare_linear([torch.zeros(16, heads.queries * heads.dim)])

        def run(ops: Ops) -> Projection:
            qkv = ops.embedding(table)
            for layer in range(count):
                ops.attention(qkv, layer, None, None, reader)
            return qkv

        return run

    sizes = geometry(width, step.num_tokens, layers=LAYERS, heads=heads, contexts=contexts)
    return seconds_each(make, forward, sizes, step, LAYERS)


def _timing(kernel: str, by: str, heads: Heads, queries: int, context: int, attended: float, seconds: float) -> Timing:
    is_prefill = kernel.endswith("prefill")
    sequences = 1 if is_prefill else queries
    return Timing(
        kernel=kernel,
        by=by,
        sizes={
            "queries": queries,
            "context": context,
            "query heads": heads.queries,
            "key heads": heads.keys,
            "head dim": heads.dim,
        },
        seconds=seconds,
        operations=int(4 * queries * attended * heads.queries * heads.dim),
        num_bytes=sequences * context * 2 * heads.keys * heads.dim * 2,
        arithmetic="bfloat16",
    )
