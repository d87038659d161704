"""Weights in the layout that the CPU's kernels multiply (weights.h)."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from pennyweight.kernels.ops import Precision
from pennyweight.kernels.quantised import QuantisedLinear, Scheme, joined

from .library import Library
from .mapped import MappedTensor

PANEL = 16


class WeightType(enum.IntEnum):
    """``pw::Type``."""

    FLOAT32 = 0
    BFLOAT16 = 1
    INT8 = 2
    CODES8 = 3
    CODES4 = 4


_BY_PRECISION = MappingProxyType(
    {
        Precision.FLOAT32: WeightType.FLOAT32,
        Precision.BFLOAT16: WeightType.BFLOAT16,
        Precision.INT8: WeightType.INT8,
    }
)
_BY_SCHEME = MappingProxyType(
    {Scheme.W8A8: WeightType.INT8, Scheme.W8A16: WeightType.CODES8, Scheme.W4A16: WeightType.CODES4}
)
# K of rows of activations is padded to the elements of 64 bytes of such weights; of codes, to 64 bytes of activations.
_ROW_STEPS = MappingProxyType(
    {
        WeightType.FLOAT32: 16,
        WeightType.BFLOAT16: 32,
        WeightType.INT8: 64,
        WeightType.CODES8: 32,
        WeightType.CODES4: 32,
    }
)


@dataclass(frozen=True, slots=True)
class Form:
    """What rows of activations are made of for weights of a type; for codes also the sums of groups of so many columns."""

    type: WeightType
    group: int = 0

    @property
    def row_step(self) -> int:
        """What a row's elements are padded to a multiple of."""
        return _ROW_STEPS[self.type]

    @property
    def is_whole(self) -> bool:
        """Whether they are whole numbers with a scale for each row."""
        return self.type >= WeightType.INT8


class PackedLinear:
    """Weights [N, K] in the kernels' layout, with what belongs to them. ``form`` is what they are multiplied with."""

    def __init__(self, library: Library, form: Form, n: int, k: int, bias: Tensor | None) -> None:
        padded = -(-n // PANEL) * PANEL
        self._library = library
        self.form = form
        self.nbytes: int = library.c.pw_panel_bytes(form.type, n, k, form.group)
        self._panels = MappedTensor(library, self.nbytes)
        self._scales = torch.zeros(padded if form.is_whole else 0)
        self._sums = torch.zeros(padded if form.type is WeightType.INT8 else 0, dtype=torch.int32)
        self._bias = functional.pad(bias.float(), (0, padded - n)) if bias is not None else None
        self.n, self.k = n, k
        self.address: int = library.c.pw_weights_create(
            form.type,
            n,
            k,
            form.group,
            self._panels.address,
            self._scales.data_ptr(),
            self._sums.data_ptr(),
            None if self._bias is None else self._bias.data_ptr(),
        )

    def pack(self, team: int, first: int, weight: Tensor) -> None:
        """Put rows [first, first + len(weight)) of floats in place."""
        if weight.dtype not in (torch.float32, torch.bfloat16):
            weight = weight.float()
        weight = weight.contiguous()
        source = 0 if weight.dtype is torch.float32 else 1
        self._library.c.pw_weights_pack(self.address, team, first, weight.shape[0], weight.data_ptr(), source)

    def pack_quantised(self, team: int, weight: QuantisedLinear) -> None:
        """Put all rows in place."""
        values, scales = weight.values.contiguous(), weight.scales.contiguous()
        if weight.scheme is Scheme.W8A8:
            self._library.c.pw_weights_pack_int8(self.address, team, values.data_ptr(), scales.data_ptr())
            return
        zeros = None if weight.zeros is None else weight.zeros.contiguous()
        self._library.c.pw_weights_pack_codes(
            self.address, team, values.data_ptr(), scales.data_ptr(), None if zeros is None else zeros.data_ptr()
        )

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self._library.c.pw_weights_destroy(self.address)


def pack(
    library: Library,
    team: int,
    precision: Precision,
    parts: Sequence[Tensor | QuantisedLinear],
    bias: Tensor | None,
) -> PackedLinear:
    """Projections of one input as one, along N.

    Quantised parts stay so where all are alike and the kernels take their groups; else they are stored as floats are. FLOAT32,
    which is for comparing, takes codes for the floats that they stand for.
    """
    if (kept := _kept(precision, parts)) is not None:
        form = Form(_BY_SCHEME[kept.scheme], 0 if kept.scheme is Scheme.W8A8 else kept.group_size)
        rows, columns = kept.shape
        linear = PackedLinear(library, form, rows, columns, bias)
        linear.pack_quantised(team, kept)
        return linear
    rows = sum(part.shape[0] for part in parts)
    linear = PackedLinear(library, Form(_BY_PRECISION[precision]), rows, parts[0].shape[1], bias)
    first = 0
    for part in parts:
        linear.pack(team, first, part.dequantised() if isinstance(part, QuantisedLinear) else part)
        first += part.shape[0]
    return linear


def _kept(precision: Precision, parts: Sequence[Tensor | QuantisedLinear]) -> QuantisedLinear | None:
    quantised = [part for part in parts if isinstance(part, QuantisedLinear)]
    if len(quantised) < len(parts) or (whole := joined(quantised)) is None:
        return None
    if whole.scheme is Scheme.W8A8:
        return whole
    return None if precision is Precision.FLOAT32 else whole.cut()
