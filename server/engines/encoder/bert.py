"""BERT's forward pass over a padded batch (arXiv:1810.04805), in float32, from a checkpoint's Hugging Face names."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

from pennyweight.server.engines.native.checkpoint import Checkpoint

from .encoder_config import EncoderConfig


class _Reader:
    """Takes tensors of a checkpoint to the device."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._checkpoint = checkpoint
        self._device = device

    def take(self, name: str, *shape: int) -> Tensor:
        # A copy: what was read is mapped, and would be read from the disk again whenever its pages are dropped.
        return self._checkpoint.take(name, *shape).to(self._device, torch.float32, copy=True)

    def pair(self, prefix: str, *shape: int) -> tuple[Tensor, Tensor]:
        """A weight and its bias."""
        return self.take(f"{prefix}.weight", *shape), self.take(f"{prefix}.bias", shape[0])


class _Layer:
    """Attention, then the feed-forward network, each added to its input and normalised."""

    def __init__(self, config: EncoderConfig, reader: _Reader, layer: int) -> None:
        hidden, inner, prefix = config.hidden_size, config.intermediate_size, f"encoder.layer.{layer}"
        self._heads, self._eps = config.num_attention_heads, config.layer_norm_eps
        parts = [reader.pair(f"{prefix}.attention.self.{name}", hidden, hidden) for name in ("query", "key", "value")]
        self._qkv = torch.cat([weight for weight, _ in parts]), torch.cat([bias for _, bias in parts])
        self._output = reader.pair(f"{prefix}.attention.output.dense", hidden, hidden)
        self._attention_norm = reader.pair(f"{prefix}.attention.output.LayerNorm", hidden)
        self._up = reader.pair(f"{prefix}.intermediate.dense", inner, hidden)
        self._down = reader.pair(f"{prefix}.output.dense", hidden, inner)
        self._norm = reader.pair(f"{prefix}.output.LayerNorm", hidden)

    def __call__(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, length, hidden = x.shape
        # [3, B, heads, L, head_dim]
        qkv = F.linear(x, *self._qkv).view(batch, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=mask)
        attended = attended.transpose(1, 2).reshape(batch, length, hidden)
        x = F.layer_norm(x + F.linear(attended, *self._output), (hidden,), *self._attention_norm, self._eps)
        inner = F.gelu(F.linear(x, *self._up))
        return F.layer_norm(x + F.linear(inner, *self._down), (hidden,), *self._norm, self._eps)


class Bert:
    """The encoder's tables and layers on one device."""

    def __init__(self, config: EncoderConfig, checkpoint: Checkpoint, device: torch.device) -> None:
        hidden, reader = config.hidden_size, _Reader(checkpoint, device)
        self._hidden, self._eps = hidden, config.layer_norm_eps
        self._words = reader.take("embeddings.word_embeddings.weight", config.vocab_size, hidden)
        positions = reader.take("embeddings.position_embeddings.weight", config.max_position_embeddings, hidden)
        types = reader.take("embeddings.token_type_embeddings.weight", config.type_vocab_size, hidden)
        # A single text is of type 0 throughout.
        self._places = positions + types[0]
        self._norm = reader.pair("embeddings.LayerNorm", hidden)
        self._layers = [_Layer(config, reader, layer) for layer in range(config.num_hidden_layers)]
        # A table of older checkpoints, and the head of next-sentence prediction: no part of a text's vector.
        for name in ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"):
            checkpoint.skip(name)

    def __call__(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Hidden states, float32 [B, L, hidden], of token ids [B, L]; ``mask`` [B, L] is false where there is padding."""
        x = F.embedding(token_ids, self._words) + self._places[: token_ids.shape[1]]
        x = F.layer_norm(x, (self._hidden,), *self._norm, self._eps)
        # Broadcast over heads and queries: nobody looks at padding. What padding itself comes to, nobody reads.
        seen = None if bool(mask.all()) else mask[:, None, None, :]
        for layer in self._layers:
            x = layer(x, seen)
        return x
