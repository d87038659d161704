"""Checkpoints of compressed-tensors, which LLM Compressor writes and vLLM reads: int-quantized, pack-quantized, float-quantized.

For each projection of N rows and K columns: ``weight`` int8 or float8_e4m3fn [N, K], or ``weight_packed`` int32 [N, K * bits / 32] of
codes with the middle added; ``weight_scale`` [N, G] (or [N, 1], [1], or one for each block); ``weight_zero_point`` where they are
not symmetric, packed along N for packed weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pennyweight.kernels.quantised import QuantisedLinear, Scheme

from .base import FormatError, Tensors, expect, present
from .packing import unpacked

SUFFIXES = (
    "weight",
    "weight_packed",
    "weight_scale",
    "weight_shape",
    "weight_zero_point",
    "weight_g_idx",
    # Scales that were calibrated for activations, keys and values are left out: here each token has its own, which is closer.
    "input_scale",
    "input_zero_point",
    "output_scale",
    "k_scale",
    "v_scale",
)
FORMATS = ("int-quantized", "pack-quantized", "float-quantized", "naive-quantized", "mixed-precision")
# What all projections are, among targets.
CLASS = "Linear"


class CompressedTensors:
    """Implements Format for ``quant_method: compressed-tensors``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        if (written := config.get("format", FORMATS[0])) not in FORMATS:
            raise FormatError(f"the format {written!r} of compressed-tensors is not done; {', '.join(FORMATS)} are")
        if (config.get("sparsity_config") or {}).get("format", "dense") != "dense":
            raise FormatError("sparse weights are not done")
        if (config.get("transform_config") or {}).get("config_groups"):
            raise FormatError("transforms of weights and activations (SpinQuant, QuIP) are not done")
        self._groups = list((config.get("config_groups") or {}).values())

    def names(self, module: str, tensors: Tensors) -> Sequence[str]:
        return present(module, SUFFIXES, tensors) if f"{module}.weight_scale" in tensors else ()

    def read(self, module: str, rows: int, columns: int, tensors: Tensors) -> QuantisedLinear | Tensor:
        group = self._group(module)
        weights = group.get("weights") or {}
        scale = tensors.load(f"{module}.weight_scale").float()
        if f"{module}.weight_packed" in tensors:
            return self._packed(module, rows, columns, tensors, scale, int(weights.get("num_bits", 4)))
        stored = expect(f"{module}.weight", tensors.load(f"{module}.weight"), rows, columns)
        if stored.dtype.is_floating_point:
            return stored.float() * _spread(scale, rows, columns)
        zero_point = f"{module}.weight_zero_point"
        if zero_point in tensors and tensors.load(zero_point).any():
            raise FormatError(f"{module} has int8 weights with zero points, which is not done")
        scale = scale.view(-1, 1).expand(rows, 1) if scale.numel() in (1, rows) else scale
        activations = group.get("input_activations")
        if scale.shape[1] == 1 and activations is not None:
            return QuantisedLinear(Scheme.W8A8, stored, scale.contiguous())
        codes = (stored.to(torch.int16) + 128).to(torch.uint8)
        return QuantisedLinear(Scheme.W8A16, codes, scale.contiguous())

    def _packed(
        self, module: str, rows: int, columns: int, tensors: Tensors, scale: Tensor, bits: int
    ) -> QuantisedLinear | Tensor:
        if bits not in (4, 8):
            raise FormatError(f"packed weights of {bits} bits are not done; 4 and 8 are")
        name, per_word = f"{module}.weight_packed", 32 // bits
        words = expect(name, tensors.load(name), rows, -(-columns // per_word))
        codes = unpacked(words, bits, 1)[:, :columns].contiguous()
        scheme = Scheme.W4A16 if bits == 4 else Scheme.W8A16
        zeros = None
        if (name := f"{module}.weight_zero_point") in tensors:
            words = expect(name, tensors.load(name), -(-rows // per_word), scale.shape[1])
            zeros = unpacked(words, bits, 0)[:rows].contiguous()
        scale = expect(f"{module}.weight_scale", scale, rows, scale.shape[-1]).contiguous()
        if (name := f"{module}.weight_g_idx") in tensors:
            places = expect(name, tensors.load(name), columns).long()
            size = -(-columns // scale.shape[1])
            if not torch.equal(places, torch.arange(columns) // size):
                # Quantised in order of activation: columns of a group lie anywhere, which the kernels' groups can't follow.
                middle = float(1 << (bits - 1))
                shift = middle if zeros is None else zeros.float()[:, places]
                return (codes.float() - shift) * scale[:, places]
        return QuantisedLinear(scheme, codes, scale, zeros)

    def _group(self, module: str) -> Mapping[str, Any]:
        """The scheme whose targets have the module: by its name before by its class, whatever order they were written in.

        Raises FormatError where none has.
        """
        for is_named in (True, False):
            for group in self._groups:
                targets = (target for target in group.get("targets", ()) if (target != CLASS) is is_named)
                if any(_targets(target, module) for target in targets):
                    found: Mapping[str, Any] = group
                    return found
        raise FormatError(f"{module} has scales, but no scheme of the configuration has it among its targets")


def _targets(target: str, module: str) -> bool:
    if target.startswith("re:"):
        return re.match(target[3:], module) is not None
    return target in (CLASS, module) or module.endswith(f".{target}")


def _spread(scale: Tensor, rows: int, columns: int) -> Tensor:
    """Scales of the whole, of rows, of groups of columns or of blocks, as something to multiply [rows, columns] by."""
    if scale.numel() == 1:
        return scale.view(1, 1)
    if scale.dim() == 1:
        scale = scale[:, None]
    down, right = -(-rows // scale.shape[0]), -(-columns // scale.shape[1])
    return scale.repeat_interleave(down, 0)[:rows].repeat_interleave(right, 1)[:, :columns]
