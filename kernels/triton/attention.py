"""Causal attention with grouped heads over the paged cache, the tokens' own keys and values stored first."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import triton
from pennyweight.kernels.geometry import Geometry, KVCache
from pennyweight.kernels.step import Step

from .arithmetic import EXACT
from .attention_kernels import attend_many, attend_single, merge_splits
from .rotary_kernels import rotate_and_store

# Tokens of context that are attended to at once, and between two merges: where sums are cut, for every sequence alike.
TILE = 64
SPLIT = 256
# Queries that share a program: of one token (at least as many as tensor cores take), and of a prompt.
_FEWEST_ROWS = 16
_PROMPT_ROWS = 64
# Splits are taken apart as long as what they leave to be merged is no more than this (128 MiB of float32).
_MOST_LEFT = 1 << 25


class PagedAttention:
    """The kernels bound to one model's sizes and cache; ``begin`` comes before a step's ``attend``."""

    def __init__(self, geometry: Geometry, cache: KVCache) -> None:
        self.cache = cache
        self._geometry = geometry
        self._device = cache.keys.device
        self._cos = geometry.rope_cos.to(self._device, torch.float32).contiguous()
        self._sin = geometry.rope_sin.to(self._device, torch.float32).contiguous()
        self._group = geometry.num_heads // geometry.num_kv_heads
        self._few_rows = max(_FEWEST_ROWS, triton.next_power_of_2(self._group))
        self._step: Step | None = None

    def begin(self, step: Step) -> None:
        """Take the step that the next layers belong to. Nothing of it is read on the host but its sizes."""
        self._step = step

    def attend(
        self, qkv: Tensor, layer: int, q_norm: Tensor | None, k_norm: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """``Ops.attention`` of float32 qkv [T, (Hq + 2 Hkv) * D]: [T, Hq * D] in ``dtype``."""
        step = self._step
        assert step is not None, "begin() comes before attend()"
        queries = self._rotate_and_store(qkv, layer, q_norm, k_norm, step)
        out = torch.empty(queries.shape, dtype=dtype, device=self._device)
        splits = triton.cdiv(step.max_context, SPLIT)
        left = step.num_seqs * splits * queries.shape[1] * queries.shape[2]
        apart = left <= _MOST_LEFT
        if apart:
            self._attend_single(queries, layer, step, splits, out)
        if not apart or step.num_tokens > step.num_seqs:
            self._attend_many(queries, layer, step, out, singles=not apart)
        return out.view(qkv.shape[0], -1)

    def _rotate_and_store(
        self, qkv: Tensor, layer: int, q_norm: Tensor | None, k_norm: Tensor | None, step: Step
    ) -> Tensor:
        """The queries [T, Hq, D] as keys are held."""
        sizes, cache = self._geometry, self.cache
        tokens, heads, kv_heads, dim = qkv.shape[0], sizes.num_heads, sizes.num_kv_heads, sizes.head_dim
        assert qkv.is_contiguous()
        queries = torch.empty(tokens, heads, dim, dtype=cache.keys.dtype, device=self._device)
        rotate_and_store[(tokens,)](
            qkv,
            q_norm,
            k_norm,
            sizes.qk_norm_eps,
            self._cos,
            self._sin,
            step.positions,
            step.slots,
            queries,
            cache.keys[layer],
            cache.values[layer],
            HEADS=heads,
            KV_HEADS=kv_heads,
            DIM=dim,
            ROWS=triton.next_power_of_2(heads + 2 * kv_heads),
            WIDTH=triton.next_power_of_2(dim // 2),
            BLOCK_SIZE=sizes.block_size,
            num_warps=8,
            **EXACT,
        )
        return queries

    def _attend_single(self, queries: Tensor, layer: int, step: Step, splits: int, out: Tensor) -> None:
        """Sequences with one new token, a split for each program."""
        _, heads, dim = queries.shape
        largest, weight = (
            torch.empty(step.num_seqs, splits, heads, dtype=torch.float32, device=self._device) for _ in range(2)
        )
        total = torch.empty(step.num_seqs, splits, heads, dim, dtype=torch.float32, device=self._device)
        attend_single[splits, self._geometry.num_kv_heads, step.num_seqs](
            *self._operands(queries, layer, step),
            largest,
            weight,
            total,
            **self._sizes(),
            ROWS=self._few_rows,
            num_warps=4,
            num_stages=3,
            **EXACT,
        )
        merge_splits[heads, step.num_seqs](
            largest,
            weight,
            total,
            step.query_start,
            step.context_lens,
            out,
            splits,
            HEADS=heads,
            DIM=dim,
            WIDTH=self._width,
            SPLIT=SPLIT,
            num_warps=1,
            **EXACT,
        )

    def _attend_many(self, queries: Tensor, layer: int, step: Step, out: Tensor, *, singles: bool) -> None:
        """Sequences with several new tokens (with ``singles`` all), the whole context for each program."""
        rows = _PROMPT_ROWS if step.num_tokens > step.num_seqs else self._few_rows
        rows = max(rows, self._few_rows)
        tiles = step.num_tokens // (rows // self._group) + step.num_seqs
        attend_many[tiles, self._geometry.num_kv_heads](
            *self._operands(queries, layer, step),
            out,
            step.num_seqs,
            **self._sizes(),
            ROWS=rows,
            SINGLES=singles,
            num_warps=8 if rows >= _PROMPT_ROWS else 4,
            num_stages=2,
            **EXACT,
        )

    def _operands(self, queries: Tensor, layer: int, step: Step) -> tuple[Tensor | int, ...]:
        assert step.block_tables.stride(1) == 1
        return (
            queries,
            self.cache.keys[layer],
            self.cache.values[layer],
            step.query_start,
            step.context_lens,
            step.block_tables,
            step.block_tables.stride(0),
        )

    def _sizes(self) -> dict[str, Any]:
        sizes = self._geometry
        return {
            # Scores are in base 2, whose power is one instruction.
            "scale": math.log2(math.e) / math.sqrt(sizes.head_dim),
            "HEADS": sizes.num_heads,
            "KV_HEADS": sizes.num_kv_heads,
            "DIM": sizes.head_dim,
            "WIDTH": self._width,
            "BLOCK_SIZE": sizes.block_size,
            "SPLIT": SPLIT,
            "TILE": TILE,
        }

    @property
    def _width(self) -> int:
        return max(16, int(triton.next_power_of_2(self._geometry.head_dim)))
