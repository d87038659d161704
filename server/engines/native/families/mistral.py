"""Mistral 7B and its dense successors without a sliding window (v0.2 and later, Nemo, Small): arXiv:2310.06825."""

from __future__ import annotations

from pennyweight.kernels.ops import Ops
from pennyweight.server.engines.native.checkpoint import Checkpoint
from pennyweight.server.engines.native.layers import Decoder
from pennyweight.server.engines.native.model_config import ModelConfig


class Mistral(Decoder):
    """Llama's blocks without any bias; head_dim need not be hidden_size / num_heads (Nemo)."""

    def __init__(self, config: ModelConfig, ops: Ops, checkpoint: Checkpoint) -> None:
        super().__init__(config, ops, checkpoint)
