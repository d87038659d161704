"""Qwen3, dense: arXiv:2505.09388."""

from __future__ import annotations

from pennyweight.kernels.ops import Ops
from pennyweight.server.engines.native.checkpoint import Checkpoint
from pennyweight.server.engines.native.layers import Decoder
from pennyweight.server.engines.native.model_config import ModelConfig


class Qwen3(Decoder):
    """Llama's blocks with RMS norms of each query and key head in place of Qwen2's biases."""

    def __init__(self, config: ModelConfig, ops: Ops, checkpoint: Checkpoint) -> None:
        super().__init__(config, ops, checkpoint, qk_norm=True)
