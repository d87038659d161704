"""Llama 1 to 3 and what is built like them (SmolLM2, TinyLlama): arXiv:2302.13971, arXiv:2407.21783."""

from __future__ import annotations

from pennyweight.kernels.ops import Ops
from pennyweight.server.engines.native.checkpoint import Checkpoint
from pennyweight.server.engines.native.layers import Decoder
from pennyweight.server.engines.native.model_config import ModelConfig


class Llama(Decoder):
    """Grouped-query attention and SwiGLU, no norms of heads; biases where the configuration asks for them."""

    def __init__(self, config: ModelConfig, ops: Ops, checkpoint: Checkpoint) -> None:
        super().__init__(
            config,
            ops,
            checkpoint,
            qkv_bias=config.attention_bias,
            output_bias=config.attention_bias,
            mlp_bias=config.mlp_bias,
        )
