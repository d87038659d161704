"""The sizes that a decoder's kernels are made for, and the block-wise KV cache they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of one model on one device.

    ``rope_cos`` and ``rope_sin`` are float32 [max_model_len, head_dim // 2], with any rope scaling already in them.
    ``block_size`` is in tokens; ``qk_norm_eps`` is for models that norm queries and keys. Limits: at most
    ``max_tokens`` tokens, ``max_seqs`` sequences and ``max_logit_rows`` rows of logits in one step.
    """

    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_model_len: int
    rope_cos: torch.Tensor
    rope_sin: torch.Tensor
    block_size: int
    num_blocks: int
    max_tokens: int
    max_seqs: int
    max_logit_rows: int
    qk_norm_eps: float = 1e-6

    @property
    def max_blocks_per_seq(self) -> int:
        return -(-self.max_model_len // self.block_size)


class KVCache:
    """Keys and values of all layers: ``keys[layer]`` and ``values[layer]`` are [num_blocks, Hkv, block_size, D].

    In int8 they have scales, float16 [num_blocks, Hkv, block_size, 1]; in other dtypes none. The memory is zeroed lazily by the
    system, so blocks that were never used cost nothing on the CPU.
    """

    def __init__(self, geometry: Geometry, dtype: torch.dtype, device: torch.device) -> None:
        rows = geometry.num_layers, geometry.num_blocks, geometry.num_kv_heads, geometry.block_size
        self.keys = torch.zeros(*rows, geometry.head_dim, dtype=dtype, device=device)
        self.values = torch.zeros(*rows, geometry.head_dim, dtype=dtype, device=device)
        self.key_scales = self.value_scales = None
        if dtype is torch.int8:
            self.key_scales = torch.zeros(*rows, 1, dtype=torch.float16, device=device)
            self.value_scales = torch.zeros(*rows, 1, dtype=torch.float16, device=device)

    def copy_blocks(self, sources: Sequence[int], destinations: Sequence[int]) -> None:
        """Copy whole blocks in all layers."""
        source, destination = (torch.tensor(blocks, device=self.keys.device) for blocks in (sources, destinations))
        for rows in (self.keys, self.values, self.key_scales, self.value_scales):
            if rows is not None:
                rows[:, destination] = rows[:, source]
