"""The operations on CUDA, by the Triton kernels of this package."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pennyweight.kernels.geometry import Geometry, KVCache
from pennyweight.kernels.ops import Precision
from pennyweight.kernels.quantised import QuantisedLinear
from pennyweight.kernels.step import Step
from pennyweight.kernels.tensor_ops import Int8Rows, TensorActivation, TensorOps

from .attention import PagedAttention
from .identity import identity
from .matmul import linear
from .rows import quantise_rows, rms_norm, silu_mul
from .weights import Int8Weight, Weight, prepare_weight


class TritonOps(TensorOps):
    """Implements Ops, for every precision but FLOAT32. The results for a token depend on its sequence alone, to the bit.

    Adapters are the exception: their products are PyTorch's.
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        assert precision is not Precision.FLOAT32
        super().__init__(precision, device)
        self._attention: PagedAttention | None = None

    def bind(self, geometry: Geometry, cache: KVCache) -> None:
        self._attention = PagedAttention(geometry, cache)

    def begin(self, step: Step, *, padded: bool = False) -> None:
        super().begin(step, padded=padded)
        self._paged.begin(step)

    def describe(self) -> dict[str, str]:
        return identity()

    def variance(self, *, adapters: bool) -> str:
        return "PyTorch computes what adapters add, in an order that depends on the batch" if adapters else ""

    def prepare_linear(self, parts: Sequence[Tensor | QuantisedLinear], biases: Sequence[Tensor | None] = ()) -> Weight:
        bias = self._joined_bias([part.shape[0] for part in parts], biases or [None] * len(parts))
        weight = prepare_weight(parts, bias, self.device, int8=self.precision is Precision.INT8)
        self._weight_bytes += weight.nbytes
        return weight

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, reader: Weight) -> TensorActivation:
        return _activation(*rms_norm(x, weight, eps, _read_by(reader)))

    def linear(self, a: TensorActivation, weight: Weight) -> Tensor:
        return _linear(a, weight, None)

    def linear_add(self, residual: Tensor, a: TensorActivation, weight: Weight) -> Tensor:
        return _linear(a, weight, residual)

    def attention(
        self, qkv: Tensor, layer: int, q_norm: Tensor | None, k_norm: Tensor | None, reader: Weight
    ) -> TensorActivation:
        if isinstance(reader, Int8Weight):
            return Int8Rows(*quantise_rows(self._paged.attend(qkv, layer, q_norm, k_norm, torch.float32)))
        return self._paged.attend(qkv, layer, q_norm, k_norm, torch.bfloat16)

    def silu_mul(self, gate_up: Tensor, reader: Weight) -> TensorActivation:
        return _activation(*silu_mul(gate_up, _read_by(reader)))

    @property
    def _paged(self) -> PagedAttention:
        assert self._attention is not None, "bind() comes before begin()"
        return self._attention


def _read_by(reader: Weight) -> torch.dtype:
    """What a product with these weights reads."""
    return torch.int8 if isinstance(reader, Int8Weight) else torch.bfloat16


def _activation(values: Tensor, scales: Tensor | None) -> TensorActivation:
    return values if scales is None else Int8Rows(values, scales)


def _linear(a: TensorActivation, weight: Weight, residual: Tensor | None) -> Tensor:
    if isinstance(a, Int8Rows):
        return linear(a.values, weight, token_scales=a.scale, residual=residual)
    return linear(a, weight, residual=residual)
