"""Checkpoints of GPTQ (arXiv:2210.17323) as AutoGPTQ and GPTQModel write them, versions 1 and 2.

For each projection of N rows and K columns: ``qweight`` int32 [K * bits / 32, N] with codes packed along K, ``qzeros`` int32
[G, N * bits / 32], ``scales`` float16 [G, N], ``g_idx`` int32 [K], the group of each column. Version 1 stores zero points less
one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pennyweight.kernels.quantised import QuantisedLinear, Scheme

from .base import FormatError, Tensors, expect, present
from .packing import unpacked

SCHEMES = {4: Scheme.W4A16, 8: Scheme.W8A16}
SUFFIXES = ("qweight", "qzeros", "scales", "g_idx")


class GPTQ:
    """Implements Format for ``quant_method: gptq``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        bits = config.get("bits")
        if bits not in SCHEMES:
            raise FormatError(f"GPTQ with {bits} bits is not done; 4 and 8 are")
        self._bits = int(bits)
        version = config.get("checkpoint_format") or config.get("format") or "gptq"
        if version not in ("gptq", "gptq_v2"):
            raise FormatError(f"the layout {version!r} of a GPTQ checkpoint is not done; gptq and gptq_v2 are")
        self._stored_less = 1 if version == "gptq" else 0

    def names(self, module: str, tensors: Tensors) -> Sequence[str]:
        return present(module, SUFFIXES, tensors) if f"{module}.qweight" in tensors else ()

    def read(self, module: str, rows: int, columns: int, tensors: Tensors) -> QuantisedLinear | Tensor:
        def take(name: str, *shape: int) -> Tensor:
            return expect(f"{module}.{name}", tensors.load(f"{module}.{name}"), *shape)

        per_word = 32 // self._bits
        scales = tensors.load(f"{module}.scales").float()
        groups = scales.shape[0]
        expect(f"{module}.scales", scales, groups, rows)
        values = unpacked(take("qweight", columns // per_word, rows), self._bits, 0).t().contiguous()
        zeros = unpacked(take("qzeros", groups, rows // per_word), self._bits, 1).t()
        zeros = torch.bitwise_and(zeros + self._stored_less, (1 << self._bits) - 1).contiguous()
        scales = scales.t().contiguous()
        order = torch.arange(columns, dtype=torch.int32) // -(-columns // groups)
        if f"{module}.g_idx" not in tensors or torch.equal(found := take("g_idx", columns), order):
            return QuantisedLinear(SCHEMES[self._bits], values, scales, zeros)
        # Quantised in order of activation: columns of a group lie anywhere, which the kernels' groups can't follow.
        places = found.long()
        return (values.float() - zeros.float()[:, places]) * scales[:, places]
