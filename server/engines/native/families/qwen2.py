"""Qwen2 and Qwen2.5, dense: arXiv:2407.10671, arXiv:2412.15115."""

from __future__ import annotations

from pennyweight.kernels.ops import Ops
from pennyweight.server.engines.native.checkpoint import Checkpoint
from pennyweight.server.engines.native.layers import Decoder
from pennyweight.server.engines.native.model_config import ModelConfig


class Qwen2(Decoder):
    """Llama's blocks with biases on queries, keys and values, always, and on nothing else."""

    def __init__(self, config: ModelConfig, ops: Ops, checkpoint: Checkpoint) -> None:
        super().__init__(config, ops, checkpoint, qkv_bias=True)
