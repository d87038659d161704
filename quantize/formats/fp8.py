"""Checkpoints with float8_e4m3fn weights as Hugging Face's own fp8 method writes them (DeepSeek-V3, arXiv:2412.19437).

``weight`` float8_e4m3fn [N, K] and ``weight_scale_inv`` float32, one for each block of 128 by 128 (or ``weight_scale``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pennyweight.kernels.quantised import QuantisedLinear

from .base import FormatError, Tensors, expect, present

SCALES = ("weight_scale_inv", "weight_scale")
SUFFIXES = ("weight", *SCALES, "input_scale", "activation_scale")


class FP8:
    """Implements Format for ``quant_method: fp8``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._block = tuple(config.get("weight_block_size") or ())

    def names(self, module: str, tensors: Tensors) -> Sequence[str]:
        is_quantised = any(f"{module}.{suffix}" in tensors for suffix in SCALES)
        return present(module, SUFFIXES, tensors) if is_quantised else ()

    def read(self, module: str, rows: int, columns: int, tensors: Tensors) -> QuantisedLinear | Tensor:
        stored = expect(f"{module}.weight", tensors.load(f"{module}.weight"), rows, columns).float()
        scale = tensors.load(next(name for suffix in SCALES if (name := f"{module}.{suffix}") in tensors)).float()
        if scale.numel() in (1, rows):
            return stored * scale.view(-1, 1)
        down, right = self._block or (0, 0)
        if not down or tuple(scale.shape) != (-(-rows // down), -(-columns // right)):
            raise FormatError(f"{module} has scales {list(scale.shape)}, which fit no blocks of {list(self._block)}")
        return stored * scale.repeat_interleave(down, 0)[:rows].repeat_interleave(right, 1)[:, :columns]
