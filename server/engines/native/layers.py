"""The layers that decoder-only families are made of, written once against ``Ops``.

A family says what its blocks have (biases, norms of each head); everything here is built from a checkpoint's tensors by
their Hugging Face names. No class holds a tensor of its own: weights are what the ops prepared.
"""

from __future__ import annotations

from pennyweight.kernels.ops import Activation, Hidden, Ops, PreparedLinear, Projection

from .checkpoint import Checkpoint
from .model_config import ModelConfig
from .projections import DOWN, GATE_UP, OUTPUT, QKV, places


class Product:
    """A matrix product, and what adapters add to the projections that it is made of."""

    def __init__(self, weight: PreparedLinear, projections: range) -> None:
        self.weight = weight
        self._projections = projections

    def __call__(self, a: Activation, ops: Ops) -> Projection:
        return ops.add_low_rank(ops.linear(a, self.weight), a, self._projections)

    def add_to(self, residual: Hidden, a: Activation, ops: Ops) -> Hidden:
        """residual + product, in place."""
        return ops.add_low_rank(ops.linear_add(residual, a, self.weight), a, self._projections)


class Attention:
    """Joined query, key and value projection, paged attention and the output projection.

    ``qk_norm``: RMS norms of each query and key head before the rotation (Qwen3).
    """

    def __init__(
        self,
        config: ModelConfig,
        ops: Ops,
        checkpoint: Checkpoint,
        layer: int,
        *,
        qkv_bias: bool,
        output_bias: bool,
        qk_norm: bool,
    ) -> None:
        hidden, head_dim = config.hidden_size, config.head_dim
        queries, keys = config.num_heads * head_dim, config.num_kv_heads * head_dim
        prefix = f"model.layers.{layer}.self_attn"
        parts = (("q_proj", queries), ("k_proj", keys), ("v_proj", keys))
        self._layer = layer
        qkv = ops.prepare_linear(
            [checkpoint.take_linear(f"{prefix}.{name}", rows, hidden) for name, rows in parts],
            [checkpoint.take(f"{prefix}.{name}.bias", rows) for name, rows in parts] if qkv_bias else (),
        )
        output = ops.prepare_linear(
            [checkpoint.take_linear(f"{prefix}.o_proj", hidden, queries)],
            [checkpoint.take(f"{prefix}.o_proj.bias", hidden)] if output_bias else (),
        )
        self._qkv = Product(qkv, places(layer, QKV))
        self._output = Product(output, places(layer, OUTPUT))
        self._q_norm = self._k_norm = None
        if qk_norm:
            self._q_norm = ops.prepare_vector(checkpoint.take(f"{prefix}.q_norm.weight", head_dim))
            self._k_norm = ops.prepare_vector(checkpoint.take(f"{prefix}.k_norm.weight", head_dim))

    @property
    def weight(self) -> PreparedLinear:
        """What reads the input."""
        return self._qkv.weight

    def add_to(self, residual: Hidden, a: Activation, ops: Ops) -> Hidden:
        """residual + attention(a), in place."""
        heads = ops.attention(self._qkv(a, ops), self._layer, self._q_norm, self._k_norm, self._output.weight)
        return self._output.add_to(residual, heads, ops)


class GatedMLP:
    """down(silu(gate(a)) * up(a)), with gate and up joined (SwiGLU, arXiv:2002.05202)."""

    def __init__(self, config: ModelConfig, ops: Ops, checkpoint: Checkpoint, layer: int, *, bias: bool) -> None:
        hidden, inner = config.hidden_size, config.intermediate_size
        prefix = f"model.layers.{layer}.mlp"
        names = ("gate_proj", "up_proj")
        gate_up = ops.prepare_linear(
            [checkpoint.take_linear(f"{prefix}.{name}", inner, hidden) for name in names],
            [checkpoint.take(f"{prefix}.{name}.bias", inner) for name in names] if bias else (),
        )
        down = ops.prepare_linear(
            [checkpoint.take_linear(f"{prefix}.down_proj", hidden, inner)],
            [checkpoint.take(f"{prefix}.down_proj.bias", hidden)] if bias else (),
        )
        self._gate_up = Product(gate_up, places(layer, GATE_UP))
        self._down = Product(down, places(layer, DOWN))

    @property
    def weight(self) -> PreparedLinear:
        """What reads the input."""
        return self._gate_up.weight

    def add_to(self, residual: Hidden, a: Activation, ops: Ops) -> Hidden:
        """residual + mlp(a), in place."""
        return self._down.add_to(residual, ops.silu_mul(self._gate_up(a, ops), self._down.weight), ops)


class DecoderLayer:
    """A pre-norm block: attention, then the gated MLP, each added to the residual stream."""

    def __init__(
        self,
        config: ModelConfig,
        ops: Ops,
        checkpoint: Checkpoint,
        layer: int,
        *,
        qkv_bias: bool = False,
        output_bias: bool = False,
        qk_norm: bool = False,
        mlp_bias: bool = False,
    ) -> None:
        prefix = f"model.layers.{layer}"
        self._eps = config.rms_norm_eps
        self._input_norm = ops.prepare_vector(checkpoint.take(f"{prefix}.input_layernorm.weight", config.hidden_size))
        self._attention = Attention(
            config, ops, checkpoint, layer, qkv_bias=qkv_bias, output_bias=output_bias, qk_norm=qk_norm
        )
        self._post_attention_norm = ops.prepare_vector(
            checkpoint.take(f"{prefix}.post_attention_layernorm.weight", config.hidden_size)
        )
        self._mlp = GatedMLP(config, ops, checkpoint, layer, bias=mlp_bias)

    def __call__(self, x: Hidden, ops: Ops) -> Hidden:
        """The residual stream after this block, in place."""
        x = self._attention.add_to(x, ops.rms_norm(x, self._input_norm, self._eps, self._attention.weight), ops)
        return self._mlp.add_to(x, ops.rms_norm(x, self._post_attention_norm, self._eps, self._mlp.weight), ops)


class Embedding:
    """The token table, and the head that reads the same tensor where the two are tied."""

    def __init__(self, config: ModelConfig, ops: Ops, checkpoint: Checkpoint) -> None:
        shape = config.vocab_size, config.hidden_size
        table = checkpoint.take("model.embed_tokens.weight", *shape)
        self._eps = config.rms_norm_eps
        self._table = ops.prepare_table(table)
        self._norm = ops.prepare_vector(checkpoint.take("model.norm.weight", config.hidden_size))
        if config.tie_word_embeddings:
            checkpoint.skip("lm_head.weight")  # some checkpoints hold the tied tensor twice
            tied = "model.embed_tokens"
            head = checkpoint.take_linear(tied, *shape) if checkpoint.is_quantised(tied) else table
        else:
            head = checkpoint.take_linear("lm_head", *shape)
        self._head = ops.prepare_linear([head])

    def embed(self, ops: Ops) -> Hidden:
        """The residual stream that the step's tokens start."""
        return ops.embedding(self._table)

    def logits(self, x: Hidden, ops: Ops) -> Projection:
        """The final norm and the head over the rows whose logits are wanted, [R, V]."""
        return ops.linear(ops.rms_norm(ops.logit_rows(x), self._norm, self._eps, self._head), self._head)


class Decoder:
    """Embedding, the blocks one after the other, head: the whole of a dense decoder-only model."""

    def __init__(
        self,
        config: ModelConfig,
        ops: Ops,
        checkpoint: Checkpoint,
        *,
        qkv_bias: bool = False,
        output_bias: bool = False,
        qk_norm: bool = False,
        mlp_bias: bool = False,
    ) -> None:
        self._embedding = Embedding(config, ops, checkpoint)
        self._layers = [
            DecoderLayer(
                config,
                ops,
                checkpoint,
                layer,
                qkv_bias=qkv_bias,
                output_bias=output_bias,
                qk_norm=qk_norm,
                mlp_bias=mlp_bias,
            )
            for layer in range(config.num_layers)
        ]

    def forward(self, ops: Ops) -> Projection:
        """From the step's tokens to the logits of its logit rows, float32 [R, V]."""
        x = self._embedding.embed(ops)
        for layer in self._layers:
            x = layer(x, ops)
        return self._embedding.logits(x, ops)
