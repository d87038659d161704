"""Checkpoints of bitsandbytes: NF4 and FP4 (QLoRA, arXiv:2305.14314) and LLM.int8 (arXiv:2208.07339).

Four bits: ``weight`` uint8 [N * K / 2, 1], two codes in a byte, the first in the upper half; ``weight.quant_map`` float32 [16], what
the codes stand for; ``weight.absmax``, the scale of each block of values in their order, itself quantised where there is a
``weight.nested_absmax``; ``weight.quant_state.bitsandbytes__nf4`` the bytes of a JSON object with the sizes. Eight bits: ``weight`` int8
[N, K] and ``SCB`` float32 [N], 127 times the scale of each channel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pennyweight.kernels.quantised import QuantisedLinear, Scheme

from .base import FormatError, Tensors, expect, present

STATES = ("weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4")
SUFFIXES = (
    "weight",
    "weight.absmax",
    "weight.quant_map",
    "weight.nested_absmax",
    "weight.nested_quant_map",
    *STATES,
    "SCB",
    "weight_format",
)


class BitsAndBytes:
    """Implements Format for ``quant_method: bitsandbytes``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        del config  # the tensors tell

    def names(self, module: str, tensors: Tensors) -> Sequence[str]:
        is_quantised = any(f"{module}.{suffix}" in tensors for suffix in (*STATES, "SCB"))
        return present(module, SUFFIXES, tensors) if is_quantised else ()

    def read(self, module: str, rows: int, columns: int, tensors: Tensors) -> QuantisedLinear | Tensor:
        if f"{module}.SCB" in tensors:
            stored = expect(f"{module}.weight", tensors.load(f"{module}.weight"), rows, columns)
            scales = expect(f"{module}.SCB", tensors.load(f"{module}.SCB").float(), rows) / 127.0
            # What LLM.int8 computes in 16 bits for the sake of outliers, all of it is here.
            codes = (stored.to(torch.int16) + 128).to(torch.uint8)
            return QuantisedLinear(Scheme.W8A16, codes, scales[:, None].contiguous())
        return self._four_bits(module, rows, columns, tensors)

    def _four_bits(self, module: str, rows: int, columns: int, tensors: Tensors) -> Tensor:
        state = next(name for suffix in STATES if (name := f"{module}.{suffix}") in tensors)
        sizes = json.loads(bytes(tensors.load(state).tolist()))
        if tuple(sizes["shape"]) != (rows, columns):
            raise FormatError(f"{module} is {sizes['shape']}, but the configuration says {[rows, columns]}")
        packed = tensors.load(f"{module}.weight").flatten()
        codes = torch.stack((packed >> 4, packed & 0x0F), dim=-1).flatten()[: rows * columns]
        meant = tensors.load(f"{module}.weight.quant_map").float()[codes.long()]
        scales = tensors.load(f"{module}.weight.absmax")
        if f"{module}.weight.nested_absmax" in tensors:
            scales = self._nested(module, scales, sizes, tensors)
        size = sizes["blocksize"]
        whole = scales.float().repeat_interleave(size)[: rows * columns]
        return (meant * whole).view(rows, columns)

    def _nested(self, module: str, codes: Tensor, sizes: Mapping[str, Any], tensors: Tensors) -> Tensor:
        meant = tensors.load(f"{module}.weight.nested_quant_map").float()[codes.long()]
        largest = tensors.load(f"{module}.weight.nested_absmax").float()
        size, offset = int(sizes["nested_blocksize"]), float(sizes["nested_offset"])
        return meant * largest.repeat_interleave(size)[: len(codes)] + offset
