"""Projections that a GGUF file keeps in blocks of Q4_0 or Q8_0, as the kernels take them: without a detour over floats.

A block is 32 columns of a row (llama.cpp, ggml-common.h): a float16 scale, then for Q8_0 32 of int8, for Q4_0 16 bytes whose lower
halves are columns 0 to 15 and whose upper halves are 16 to 31, both 8 too large. Other types have parts that no zero point is (the
minimum of Q4_1, scales of scales of the K types): their values are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from pennyweight.kernels.quantised import QuantisedLinear, Scheme
from pennyweight.quantize.formats.base import FormatError, Tensors

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from pennyweight.server.engines.local.gguf import GGUFModel

BLOCK = 32
SCALE_BYTES = 2
SCHEMES = {"Q4_0": Scheme.W4A16, "Q8_0": Scheme.W8A16}


class GGUFBlocks:
    """Implements Format for an open GGUF model."""

    def __init__(self, model: GGUFModel) -> None:
        self._model = model

    def names(self, module: str, tensors: Tensors) -> Sequence[str]:
        name = f"{module}.weight"
        return (name,) if self._model.names.get(name) and self._model.quant_type(name) in SCHEMES else ()

    def read(self, module: str, rows: int, columns: int, tensors: Tensors) -> QuantisedLinear | Tensor:
        name = f"{module}.weight"
        if self._model.shape(name) != (rows, columns):
            raise FormatError(f"it is {list(self._model.shape(name))}, but the configuration says {[rows, columns]}")
        scheme = SCHEMES[self._model.quant_type(name)]
        blocks = self._model.raw(name).reshape(rows, columns // BLOCK, -1)
        scales = np.ascontiguousarray(blocks[:, :, :SCALE_BYTES]).view(np.float16)[:, :, 0].astype(np.float32)
        codes = _nibbles(blocks) if scheme is Scheme.W4A16 else blocks[:, :, SCALE_BYTES:] ^ np.uint8(0x80)
        values = torch.from_numpy(np.ascontiguousarray(codes).reshape(rows, columns))
        return QuantisedLinear(scheme, values, torch.from_numpy(scales))


def _nibbles(blocks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    packed = blocks[:, :, SCALE_BYTES:]
    return np.concatenate((packed & np.uint8(0x0F), packed >> np.uint8(4)), axis=-1)
