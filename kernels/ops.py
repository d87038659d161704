"""The operations that a decoder is made of, as one protocol with an implementation for each kind of device.

A model family writes its forward pass once, against ``Ops``. ``TorchOps`` runs it eagerly with plain PyTorch on any
device and in any dtype (it is the reference that every other kernel is compared with, in float64); the CPU kernels
record it once into a program that is replayed for each step without Python (kernels/cpu/program.py).
So a forward pass must not depend on the values in a step, and reads its sizes from nowhere but its arguments.

Values that flow between operations are opaque to the family: ``Hidden`` (the residual stream, float32 [T, H]),
``Activation`` (what a matrix product reads: [T, K] in the compute dtype, or whole numbers with a scale per token), ``Projection``
(what a matrix product gives, float32 [T, N]). Weights are prepared once by the ops that will read them, quantised ones (of a
checkpoint) as they are; what makes an activation is told which weights it is for.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from .quantised import QuantisedLinear

# What flows is the implementation's own: a tensor for TorchOps, a buffer's address for a recorded program.
Hidden = Any
Activation = Any
Projection = Any
PreparedLinear = Any
PreparedTable = Any
PreparedVector = Any


class Precision(enum.StrEnum):
    """How matrix products with weights that come as floats are computed; the residual stream is float32 in all of them.

    FLOAT32: float32 weights and activations. BFLOAT16: bfloat16 weights and activations, float32 accumulation.
    INT8: int8 weights (symmetric, one scale per output channel) times int8 activations (symmetric, one scale per
    token, computed on the fly), exact int32 accumulation, float32 result.
    """

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


class KVCacheDtype(enum.StrEnum):
    """How keys and values are kept. AUTO: as the compute dtype, float32 for FLOAT32 and bfloat16 else.

    INT8: symmetric, one float16 scale for each token and head.
    """

    AUTO = "auto"
    INT8 = "int8"

    def bytes_per_head(self, precision: Precision, head_dim: int) -> int:
        """Bytes of a token's key, or value, of one head."""
        if self is KVCacheDtype.INT8:
            return head_dim + 2
        return head_dim * (4 if precision is Precision.FLOAT32 else 2)


class Ops(Protocol):
    """One device's implementation. R, T, S as in ``Step``; H hidden size, D head dim."""

    precision: Precision

    @property
    def weight_bytes(self) -> int:
        """What all weights that ``prepare_linear`` has prepared take up."""
        ...

    def prepare_linear(
        self, parts: Sequence[Tensor | QuantisedLinear], biases: Sequence[Tensor | None] = ()
    ) -> PreparedLinear:
        """Weights [N_i, K] of any float dtype or quantised, joined along N, in the layout and dtype that ``linear`` reads.

        ``biases`` [N_i], if any.
        """
        ...

    def prepare_table(self, weight: Tensor) -> PreparedTable:
        """An embedding table [V, H], kept in bfloat16 (float32 for FLOAT32)."""
        ...

    def prepare_vector(self, weight: Tensor) -> PreparedVector:
        """A norm's weight [K], kept in float32."""
        ...

    def embedding(self, table: PreparedTable) -> Hidden:
        """The step's tokens embedded: [T, H]."""
        ...

    def rms_norm(self, x: Hidden, weight: PreparedVector, eps: float, reader: PreparedLinear) -> Activation:
        """x / sqrt(mean(x^2) + eps) * weight, rounded to what a product with ``reader`` reads."""
        ...

    def linear(self, a: Activation, weight: PreparedLinear) -> Projection:
        """a @ weight.T + bias, [T, N] float32."""
        ...

    def linear_add(self, residual: Hidden, a: Activation, weight: PreparedLinear) -> Hidden:
        """residual + (a @ weight.T + bias), in place; returns the residual."""
        ...

    def add_low_rank(self, out: Projection, a: Activation, projections: range) -> Projection:
        """What the tokens' adapters add to a product: out += B (A a), in place; returns ``out`` (or the residual).

        ``projections`` are the places of the product's projections in an adapter (see ``Backend.place_adapter``). ``a`` is
        what the product has read. Tokens without an adapter keep their values to the bit.
        """
        ...

    def attention(
        self,
        qkv: Projection,
        layer: int,
        q_norm: PreparedVector | None,
        k_norm: PreparedVector | None,
        reader: PreparedLinear,
    ) -> Activation:
        """Rotary embedding, KV-cache store and causal paged attention with grouped heads.

        ``qkv`` is [T, (Hq + 2 Hkv) * D]: queries, keys, values. ``q_norm`` and ``k_norm`` [D] are RMS norms of each
        head before the rotation (Qwen3). The rotation is that of Hugging Face's Llama (halves, not pairs).
        Gives [T, Hq * D], rounded to what ``reader`` reads. Geometry, rotation table and cache are those the ops were made with.
        """
        ...

    def silu_mul(self, gate_up: Projection, reader: PreparedLinear) -> Activation:
        """silu(gate) * up of [T, 2 I], gate first; gives [T, I], rounded to what ``reader`` reads."""
        ...

    def logit_rows(self, x: Hidden) -> Hidden:
        """The rows of x whose logits are wanted: [R, H]."""
        ...
