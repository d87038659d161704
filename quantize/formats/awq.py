"""Checkpoints of AWQ (arXiv:2306.00978) as AutoAWQ and GPTQModel write them, version "gemm".

For each projection of N rows and K columns: ``qweight`` int32 [K, N / 8], ``qzeros`` int32 [G, N / 8], both packed along N with the
eight channels of a word in the order of ORDER, ``scales`` float16 [G, N].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pennyweight.kernels.quantised import QuantisedLinear, Scheme

from .base import FormatError, Tensors, expect, present
from .packing import unpacked

# The places in a word of channels 0 to 7.
ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
SUFFIXES = ("qweight", "qzeros", "scales")


class AWQ:
    """Implements Format for ``quant_method: awq``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        if config.get("bits", config.get("w_bit")) != 4:
            raise FormatError(f"AWQ with {config.get('bits')} bits is not done; 4 is")
        version = str(config.get("version") or config.get("checkpoint_format") or "gemm").lower()
        if version != "gemm":
            raise FormatError(f"the layout {version!r} of an AWQ checkpoint is not done; gemm is")

    def names(self, module: str, tensors: Tensors) -> Sequence[str]:
        return present(module, SUFFIXES, tensors) if f"{module}.qweight" in tensors else ()

    def read(self, module: str, rows: int, columns: int, tensors: Tensors) -> QuantisedLinear | Tensor:
        def codes(name: str, length: int) -> Tensor:
            """uint8 [N, length]."""
            words = expect(f"{module}.{name}", tensors.load(f"{module}.{name}"), length, rows // 8)
            return unpacked(words, 4, 1).view(length, -1, 8)[:, :, ORDER].reshape(length, rows).t().contiguous()

        scales = tensors.load(f"{module}.scales").float()
        groups = scales.shape[0]
        expect(f"{module}.scales", scales, groups, rows)
        return QuantisedLinear(
            Scheme.W4A16, codes("qweight", columns), scales.t().contiguous(), codes("qzeros", groups)
        )
