"""compressed-tensors: packed codes with and without zero points, int8, 8-bit floats, and whom a scheme is for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fakes.stored_tensors import StoredTensors, dequantised, pack_rows, random_codes, random_scales
from torch import Tensor

from pennyweight.kernels.quantised import QuantisedLinear, Scheme
from pennyweight.quantize.formats.base import Format, FormatError
from pennyweight.quantize.formats.registry import checkpoint_format

ROWS, COLUMNS, GROUP = 24, 128, 32
PLACES = torch.arange(COLUMNS) // GROUP
NAME = "model.layers.0.self_attn.q_proj"


def reader(format: str, weights: dict[str, Any], activations: dict[str, Any] | None = None, **changes: Any) -> Format:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations} | changes
    return checkpoint_format(
        {"quant_method": "compressed-tensors", "format": format, "config_groups": {"group_0": group}}
    )


def packed(bits: int, zeros: Tensor | None, places: Tensor = PLACES) -> tuple[StoredTensors, Tensor]:
    """Codes with the middle added, as the format has them, and the weights that they mean."""
    codes, scales = random_codes(ROWS, COLUMNS, bits, 1), random_scales(ROWS, COLUMNS // GROUP, 3)
    tensors = StoredTensors({f"{NAME}.weight_packed": pack_rows(codes, bits), f"{NAME}.weight_scale": scales})
    tensors[f"{NAME}.weight_shape"] = torch.tensor([ROWS, COLUMNS])
    middle = torch.full((ROWS, COLUMNS // GROUP), 1 << (bits - 1))
    if zeros is not None:
        # Packed along the rows.
        tensors[f"{NAME}.weight_zero_point"] = pack_rows(zeros.t(), bits).t().contiguous()
    return tensors, dequantised(codes, middle if zeros is None else zeros, scales, places)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_packed_codes(bits: int, symmetric: bool) -> None:
    zeros = None if symmetric else random_codes(ROWS, COLUMNS // GROUP, bits, 2)
    tensors, expected = packed(bits, zeros)
    form = reader("pack-quantized", {"num_bits": bits, "strategy": "group", "group_size": GROUP})
    assert set(form.names(NAME, tensors)) == set(tensors)
    read = form.read(NAME, ROWS, COLUMNS, tensors)
    assert isinstance(read, QuantisedLinear)
    assert (read.scheme, read.group_size) == (Scheme.W4A16 if bits == 4 else Scheme.W8A16, GROUP)
    assert (read.zeros is None) is symmetric
    assert torch.equal(read.dequantised(), expected)


def test_columns_in_order_of_activation_come_as_floats() -> None:
    places = PLACES[torch.randperm(COLUMNS, generator=torch.Generator().manual_seed(5))]
    tensors, expected = packed(4, random_codes(ROWS, COLUMNS // GROUP, 4, 2), places)
    tensors[f"{NAME}.weight_g_idx"] = places.int()
    read = reader("pack-quantized", {"num_bits": 4}).read(NAME, ROWS, COLUMNS, tensors)
    assert isinstance(read, Tensor)
    assert torch.equal(read, expected)


def test_groups_in_turn_that_are_written_down_stay_codes() -> None:
    tensors, expected = packed(4, None)
    tensors[f"{NAME}.weight_g_idx"] = PLACES.int()
    read = reader("pack-quantized", {"num_bits": 4}).read(NAME, ROWS, COLUMNS, tensors)
    assert isinstance(read, QuantisedLinear)
    assert torch.equal(read.dequantised(), expected)


@pytest.mark.parametrize("activations", [None, {"num_bits": 8, "type": "int", "dynamic": True, "strategy": "token"}])
def test_int8_is_multiplied_with_int8_where_activations_are_quantised(activations: dict[str, Any] | None) -> None:
    values = torch.randint(-127, 128, (ROWS, COLUMNS), dtype=torch.int8)
    scale = torch.rand(ROWS, 1).bfloat16() + 0.01
    tensors = StoredTensors({f"{NAME}.weight": values, f"{NAME}.weight_scale": scale})
    read = reader("int-quantized", {"num_bits": 8, "type": "int"}, activations).read(NAME, ROWS, COLUMNS, tensors)
    assert isinstance(read, QuantisedLinear)
    assert read.scheme is (Scheme.W8A16 if activations is None else Scheme.W8A8)
    assert torch.equal(read.dequantised(), values.float() * scale.float())


@pytest.mark.parametrize("shape", [(1,), (ROWS, 1), (ROWS, COLUMNS // GROUP), (ROWS // 8, COLUMNS // GROUP)])
def test_eight_bit_floats_with_scales_of_the_whole_of_rows_groups_and_blocks(shape: tuple[int, ...]) -> None:
    values = torch.randn(ROWS, COLUMNS).to(torch.float8_e4m3fn)
    scale = torch.rand(shape) + 0.5
    tensors = StoredTensors({f"{NAME}.weight": values, f"{NAME}.weight_scale": scale})
    read = reader("float-quantized", {"num_bits": 8, "type": "float"}).read(NAME, ROWS, COLUMNS, tensors)
    assert isinstance(read, Tensor)
    down, right = (ROWS // shape[0], COLUMNS // shape[1]) if len(shape) == 2 else (ROWS, COLUMNS)
    for row, column in ((0, 0), (ROWS - 1, COLUMNS - 1), (9, 40)):
        at = scale[row // down, column // right] if len(shape) == 2 else scale[0]
        assert read[row, column] == values[row, column].float() * at


def test_a_scheme_is_for_its_targets() -> None:
    tensors, expected = packed(4, None)
    for target in (NAME, "re:.*q_proj$", "Linear"):
        read = reader("pack-quantized", {"num_bits": 4}, targets=[target]).read(NAME, ROWS, COLUMNS, tensors)
        assert isinstance(read, QuantisedLinear)
        assert torch.equal(read.dequantised(), expected)
    with pytest.raises(FormatError, match="targets"):
        reader("pack-quantized", {"num_bits": 4}, targets=["re:.*k_proj$"]).read(NAME, ROWS, COLUMNS, tensors)


@pytest.mark.parametrize("class_first", [True, False])
def test_a_name_counts_before_a_class_in_whatever_order_they_are_written(class_first: bool) -> None:
    # LLM Compressor writes groups in the order in which it meets their projections.
    groups = [
        {"targets": ["Linear"], "weights": {"num_bits": 4}},
        {"targets": [r"re:.*\.q_proj$"], "weights": {"num_bits": 8}},
    ]
    written = {f"group_{place}": group for place, group in enumerate(groups if class_first else groups[::-1])}
    form = checkpoint_format(
        {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": written}
    )
    tensors, expected = packed(8, None)
    read = form.read(NAME, ROWS, COLUMNS, tensors)
    assert isinstance(read, QuantisedLinear)
    assert torch.equal(read.dequantised(), expected)


def test_int8_with_zero_points_is_refused() -> None:
    tensors = StoredTensors(
        {
            f"{NAME}.weight": torch.ones(ROWS, COLUMNS, dtype=torch.int8),
            f"{NAME}.weight_scale": torch.ones(ROWS, 1),
            f"{NAME}.weight_zero_point": torch.ones(ROWS, 1, dtype=torch.int8),
        }
    )
    with pytest.raises(FormatError, match="zero points"):
        reader("int-quantized", {"num_bits": 8}, {"num_bits": 8}).read(NAME, ROWS, COLUMNS, tensors)


@pytest.mark.parametrize(
    "config",
    [
        {"format": "marlin-24"},
        {"sparsity_config": {"format": "sparse-24-bitmask"}},
        {"transform_config": {"config_groups": {"u": {}}}},
    ],
)
def test_what_is_not_done_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="not done"):
        checkpoint_format({"quant_method": "compressed-tensors", **config})
