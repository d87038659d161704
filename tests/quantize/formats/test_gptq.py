"""GPTQ checkpoints: codes packed along the columns, zero points of version 1 stored less one, groups in any order."""

from __future__ import annotations

import pytest
import torch
from fakes.stored_tensors import StoredTensors, dequantised, pack_rows, random_codes, random_scales
from torch import Tensor

from pennyweight.kernels.quantised import QuantisedLinear, Scheme
from pennyweight.quantize.formats.base import FormatError
from pennyweight.quantize.formats.registry import checkpoint_format

ROWS, COLUMNS, GROUP = 24, 128, 32


def stored(bits: int, less: int, places: Tensor) -> tuple[StoredTensors, Tensor]:
    """A projection as version 1 (less one) or 2 (less none) stores it, and the weights that it means."""
    codes = random_codes(ROWS, COLUMNS, bits, seed=1)
    # Version 1 can't mean a zero point of 0: it would be stored as -1.
    zeros = random_codes(ROWS, COLUMNS // GROUP, bits, seed=2).clamp(min=less)
    scales = random_scales(ROWS, COLUMNS // GROUP, seed=3)
    tensors = StoredTensors(
        {
            "m.qweight": pack_rows(codes, bits).t().contiguous(),
            "m.qzeros": pack_rows((zeros - less).t(), bits),
            "m.scales": scales.t().contiguous(),
            "m.g_idx": places.int(),
        }
    )
    return tensors, dequantised(codes, zeros, scales, places)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("version", "less"), [("gptq", 1), ("gptq_v2", 0)])
def test_codes_and_zero_points_of_both_versions(bits: int, version: str, less: int) -> None:
    tensors, expected = stored(bits, less, torch.arange(COLUMNS) // GROUP)
    reader = checkpoint_format({"quant_method": "gptq", "bits": bits, "checkpoint_format": version})
    assert set(reader.names("m", tensors)) == set(tensors)
    read = reader.read("m", ROWS, COLUMNS, tensors)
    assert isinstance(read, QuantisedLinear)
    assert read.scheme is (Scheme.W4A16 if bits == 4 else Scheme.W8A16)
    assert read.group_size == GROUP
    assert torch.equal(read.dequantised(), expected)


def test_columns_quantised_in_order_of_activation_come_as_floats() -> None:
    places = (torch.arange(COLUMNS) // GROUP)[torch.randperm(COLUMNS, generator=torch.Generator().manual_seed(4))]
    tensors, expected = stored(4, 1, places)
    read = checkpoint_format({"quant_method": "gptq", "bits": 4, "desc_act": True}).read("m", ROWS, COLUMNS, tensors)
    assert isinstance(read, Tensor)
    assert torch.equal(read, expected)


def test_one_group_for_all_columns() -> None:
    codes, zeros, scales = random_codes(8, 64, 4, 1), random_codes(8, 1, 4, 2).clamp(min=1), random_scales(8, 1, 3)
    tensors = StoredTensors(
        {
            "m.qweight": pack_rows(codes, 4).t().contiguous(),
            "m.qzeros": pack_rows((zeros - 1).t(), 4),
            "m.scales": scales.t(),
        }
    )
    read = checkpoint_format({"quant_method": "gptq", "bits": 4}).read("m", 8, 64, tensors)
    assert isinstance(read, QuantisedLinear)
    assert torch.equal(read.dequantised(), dequantised(codes, zeros, scales, torch.zeros(64, dtype=torch.long)))


def test_what_is_not_quantised_has_no_names() -> None:
    reader = checkpoint_format({"quant_method": "gptq", "bits": 4})
    assert reader.names("m", StoredTensors({"m.weight": torch.zeros(8, 8)})) == ()


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"quant_method": "gptq", "bits": 3}, "3 bits"),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "marlin"),
        ({"quant_method": "hqq"}, "hqq"),
    ],
)
def test_what_is_not_done_is_named(config: dict[str, object], complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        checkpoint_format(config)


def test_a_shape_that_the_configuration_does_not_say_is_named() -> None:
    tensors, _ = stored(4, 1, torch.arange(COLUMNS) // GROUP)
    with pytest.raises(FormatError, match=r"m\.scales"):
        checkpoint_format({"quant_method": "gptq", "bits": 4}).read("m", ROWS + 8, COLUMNS, tensors)
