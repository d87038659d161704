"""bitsandbytes: four-bit codes in blocks whose scales are quantised themselves, and LLM.int8."""

from __future__ import annotations

import json

import pytest
import torch
from fakes.stored_tensors import StoredTensors
from torch import Tensor

from pennyweight.kernels.quantised import QuantisedLinear, Scheme
from pennyweight.quantize.formats.base import FormatError
from pennyweight.quantize.formats.registry import checkpoint_format

ROWS, COLUMNS, BLOCK, NESTED_BLOCK = 16, 128, 64, 8
READER = checkpoint_format({"quant_method": "bitsandbytes"})


def state(**changes: object) -> Tensor:
    sizes = {"quant_type": "nf4", "blocksize": BLOCK, "dtype": "bfloat16", "shape": [ROWS, COLUMNS]} | changes
    return torch.tensor(list(json.dumps(sizes).encode()), dtype=torch.uint8)


def packed() -> tuple[Tensor, Tensor, Tensor]:
    """Codes [N, K], the table of what they mean, and two codes in a byte, the first in its upper half."""
    codes = torch.randint(0, 16, (ROWS, COLUMNS), generator=torch.Generator().manual_seed(1))
    flat = codes.flatten()
    return codes, torch.linspace(-1, 1, 16), (flat[::2] * 16 + flat[1::2]).to(torch.uint8)[:, None]


def test_four_bits_in_blocks() -> None:
    codes, table, stored = packed()
    absmax = torch.rand(ROWS * COLUMNS // BLOCK)
    tensors = StoredTensors(
        {
            "m.weight": stored,
            "m.weight.absmax": absmax,
            "m.weight.quant_map": table,
            "m.weight.quant_state.bitsandbytes__nf4": state(),
        }
    )
    assert set(READER.names("m", tensors)) == set(tensors)
    read = READER.read("m", ROWS, COLUMNS, tensors)
    assert isinstance(read, Tensor)
    for place in (0, 63, 64, 1000, ROWS * COLUMNS - 1):
        assert read.flatten()[place] == table[codes.flatten()[place]] * absmax[place // BLOCK]


def test_scales_that_are_quantised_themselves() -> None:
    codes, table, stored = packed()
    blocks = ROWS * COLUMNS // BLOCK
    scale_codes = torch.randint(0, 256, (blocks,), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    scale_table, largest, offset = torch.linspace(-1, 1, 256), torch.rand(blocks // NESTED_BLOCK), 0.25
    tensors = StoredTensors(
        {
            "m.weight": stored,
            "m.weight.absmax": scale_codes,
            "m.weight.quant_map": table,
            "m.weight.nested_absmax": largest,
            "m.weight.nested_quant_map": scale_table,
            "m.weight.quant_state.bitsandbytes__nf4": state(nested_blocksize=NESTED_BLOCK, nested_offset=offset),
        }
    )
    assert set(READER.names("m", tensors)) == set(tensors)
    read = READER.read("m", ROWS, COLUMNS, tensors)
    assert isinstance(read, Tensor)
    for place in (0, 63, 64, 1000, ROWS * COLUMNS - 1):
        block = place // BLOCK
        scale = scale_table[int(scale_codes[block])] * largest[block // NESTED_BLOCK] + offset
        assert read.flatten()[place] == table[codes.flatten()[place]] * scale


def test_int8_has_a_scale_for_each_channel() -> None:
    values = torch.randint(-127, 128, (ROWS, COLUMNS), dtype=torch.int8)
    tensors = StoredTensors({"m.weight": values, "m.SCB": torch.rand(ROWS), "m.weight_format": torch.tensor(0)})
    assert set(READER.names("m", tensors)) == set(tensors)
    read = READER.read("m", ROWS, COLUMNS, tensors)
    assert isinstance(read, QuantisedLinear)
    assert read.scheme is Scheme.W8A16
    assert torch.equal(read.dequantised(), values.float() * (tensors["m.SCB"] / 127.0)[:, None])


def test_a_shape_that_the_configuration_does_not_say_is_named() -> None:
    _, table, stored = packed()
    tensors = StoredTensors(
        {
            "m.weight": stored,
            "m.weight.absmax": torch.rand(ROWS * COLUMNS // BLOCK),
            "m.weight.quant_map": table,
            "m.weight.quant_state.bitsandbytes__nf4": state(shape=[COLUMNS, ROWS]),
        }
    )
    with pytest.raises(FormatError, match="m is"):
        READER.read("m", ROWS, COLUMNS, tensors)


def test_what_is_not_quantised_has_no_names() -> None:
    assert READER.names("m", StoredTensors({"m.weight": torch.zeros(8, 8)})) == ()
