"""AWQ checkpoints: codes packed along the rows, eight to a word in an order of their own."""

from __future__ import annotations

import pytest
import torch
from fakes.stored_tensors import StoredTensors, dequantised, pack_rows, random_codes, random_scales

from pennyweight.kernels.quantised import QuantisedLinear, Scheme
from pennyweight.quantize.formats.base import FormatError
from pennyweight.quantize.formats.registry import checkpoint_format

# Where AutoAWQ's packing puts channels 0 to 7 of a word: it writes channel 0, 2, 4, 6, 1, 3, 5, 7 into nibbles 0 to 7.
PLACES = (0, 4, 1, 5, 2, 6, 3, 7)


def test_channels_come_back_in_their_order() -> None:
    rows, columns, group = 16, 128, 64
    codes, zeros = random_codes(rows, columns, 4, 1), random_codes(rows, columns // group, 4, 2)
    scales = random_scales(rows, columns // group, 3)
    tensors = StoredTensors(
        {
            "m.qweight": pack_rows(codes.t(), 4, PLACES),
            "m.qzeros": pack_rows(zeros.t(), 4, PLACES),
            "m.scales": scales.t().contiguous(),
        }
    )
    reader = checkpoint_format({"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm"})
    assert set(reader.names("m", tensors)) == set(tensors)
    read = reader.read("m", rows, columns, tensors)
    assert isinstance(read, QuantisedLinear)
    assert (read.scheme, read.group_size) == (Scheme.W4A16, group)
    assert torch.equal(read.dequantised(), dequantised(codes, zeros, scales, torch.arange(columns) // group))


@pytest.mark.parametrize("config", [{"bits": 8}, {"bits": 4, "version": "gemv"}])
def test_what_is_not_done_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(FormatError, match="not done"):
        checkpoint_format({"quant_method": "awq", **config})
