"""Norms, SiLU and quantising, row by row."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from pennyweight.kernels import quantised
from pennyweight.kernels.triton.rows import quantise_rows, rms_norm, silu_mul


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


def assert_as_good(found: tuple[Tensor, Tensor | None], wanted: Tensor) -> None:
    """What is found is ``wanted``, float64, but for its type's rounding."""
    values, scales = found[0].double().cpu(), found[1]
    if scales is None:
        torch.testing.assert_close(values, wanted, atol=1e-5, rtol=2**-8 if found[0].dtype is torch.bfloat16 else 1e-5)
        return
    step = wanted.abs().amax(dim=-1, keepdim=True) / 127
    torch.testing.assert_close(scales.double().cpu(), step, atol=0, rtol=1e-5)
    assert ((values * step - wanted).abs() <= step * 0.5001).all()


@settings(max_examples=12, deadline=None)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 1100),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.int8]),
)
def test_rows_are_those_of_float64(device: torch.device, rows: int, columns: int, dtype: torch.dtype) -> None:
    x, weight = drawn(rows, columns), drawn(columns, seed=2)
    wanted = functional.rms_norm(x.double(), (columns,), weight.double(), 1e-5)
    assert_as_good(rms_norm(x.to(device), weight.to(device), 1e-5, dtype), wanted)
    both = drawn(rows, 2 * columns)
    gate, up = both.double().chunk(2, dim=-1)
    assert_as_good(silu_mul(both.to(device), dtype), functional.silu(gate) * up)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_quantised_as_everywhere_to_the_bit(device: torch.device, dtype: torch.dtype) -> None:
    x = drawn(12, 333).to(device, dtype)
    x[3] = 0
    for found, wanted in zip(quantise_rows(x), quantised.quantise_rows(x), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int8])
def test_a_row_is_the_same_to_the_bit_with_any_rows_around_it(device: torch.device, dtype: torch.dtype) -> None:
    x, weight = drawn(20, 600).to(device), drawn(600, seed=2).to(device)
    for found, alone in (
        (rms_norm(x, weight, 1e-5, dtype), rms_norm(x[7:8], weight, 1e-5, dtype)),
        (silu_mul(x, dtype), silu_mul(x[7:8], dtype)),
    ):
        assert torch.equal(found[0][7:8], alone[0])
        if found[1] is not None and alone[1] is not None:
            assert torch.equal(found[1][7:8], alone[1])


def test_a_row_that_is_no_number_spoils_no_other(device: torch.device) -> None:
    x = drawn(3, 50).to(device)
    clean, _ = rms_norm(x, torch.ones(50, device=device), 1e-5, torch.bfloat16)
    x[1, 4] = float("nan")
    found, _ = rms_norm(x, torch.ones(50, device=device), 1e-5, torch.bfloat16)
    assert found[1].isnan().all()
    assert torch.equal(found[::2], clean[::2])
