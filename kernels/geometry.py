"""The sizes that a decoder's kernels are made for, and the block-wise KV cache they share."""

from __future__ import annotations

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

    def kv_bytes_per_block(self, dtype: torch.dtype) -> int:
        """Bytes of one block over all layers, keys and values together."""
        return 2 * self.num_layers * self.num_kv_heads * self.block_size * self.head_dim * dtype.itemsize


class KVCache:
    """Keys and values of all layers: ``keys[layer]`` and ``values[layer]`` are [num_blocks, Hkv, block_size, D].

    The memory is zeroed lazily by the system, so blocks that were never used cost nothing on the CPU.
    """

    def __init__(self, geometry: Geometry, dtype: torch.dtype, device: torch.device) -> None:
        shape = (
            geometry.num_layers,
            geometry.num_blocks,
            geometry.num_kv_heads,
            geometry.block_size,
            geometry.head_dim,
        )
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
