"""Hugging Face's own fp8: a scale for each block of rows and columns, also where the last block is cut off."""

from __future__ import annotations

import pytest
import torch
from fakes.stored_tensors import StoredTensors
from torch import Tensor

from pennyweight.quantize.formats.base import FormatError
from pennyweight.quantize.formats.registry import checkpoint_format


def test_blocks_reach_over_the_edge() -> None:
    rows, columns, block = 40, 72, 16
    values = torch.randn(rows, columns).to(torch.float8_e4m3fn)
    scale = torch.rand(3, 5) + 0.5
    tensors = StoredTensors({"m.weight": values, "m.weight_scale_inv": scale})
    reader = checkpoint_format({"quant_method": "fp8", "weight_block_size": [block, block]})
    assert set(reader.names("m", tensors)) == set(tensors)
    read = reader.read("m", rows, columns, tensors)
    assert isinstance(read, Tensor)
    for row, column in ((0, 0), (15, 16), (39, 71), (32, 5)):
        assert read[row, column] == values[row, column].float() * scale[row // block, column // block]


def test_scales_that_fit_no_block_are_refused() -> None:
    tensors = StoredTensors(
        {"m.weight": torch.zeros(32, 32).to(torch.float8_e4m3fn), "m.weight_scale_inv": torch.ones(2, 3)}
    )
    with pytest.raises(FormatError, match="fit no blocks"):
        checkpoint_format({"quant_method": "fp8", "weight_block_size": [16, 16]}).read("m", 32, 32, tensors)
