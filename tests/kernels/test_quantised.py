"""The common form of quantised weights, and rounding to it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.kernels.quantised import (
    GROUP_STEP,
    LARGEST_GROUP,
    QuantisedLinear,
    Scheme,
    joined,
    round_to_nearest,
)


def weights(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@given(
    scheme=st.sampled_from(Scheme),
    rows=st.integers(1, 20),
    groups=st.integers(1, 5),
    size=st.sampled_from([8, 24, 32, 64]),
    seed=st.integers(0, 1000),
)
def test_rounding_is_off_by_half_a_step_at_most(scheme: Scheme, rows: int, groups: int, size: int, seed: int) -> None:
    weight = weights(rows, groups * size, seed)
    quantised = round_to_nearest(weight, scheme, None if scheme is Scheme.W8A8 else size)
    step = quantised.scales.repeat_interleave(quantised.group_size, dim=1)
    # A zero point is rounded too, which moves a whole group of four bits by up to half a step more.
    most = 1.0 if scheme is Scheme.W4A16 else 0.5
    assert ((quantised.dequantised() - weight).abs() <= most * step * 1.001 + 1e-7).all()


@pytest.mark.parametrize("scheme", Scheme)
def test_zeros_stay_zeros(scheme: Scheme) -> None:
    quantised = round_to_nearest(torch.zeros(3, 16), scheme)
    assert not quantised.dequantised().any()


@pytest.mark.parametrize(
    ("size", "cut"), [(32, 32), (64, 64), (128, 128), (256, 128), (576, 96), (1536, 128), (8, 8), (40, 40)]
)
def test_groups_are_cut_to_what_the_kernels_take(size: int, cut: int) -> None:
    weight = round_to_nearest(weights(5, 2 * size), Scheme.W4A16, size)
    narrow = weight.cut()
    assert narrow is not None
    assert narrow.group_size == cut <= LARGEST_GROUP
    assert torch.equal(narrow.dequantised(), weight.dequantised())


@pytest.mark.parametrize("size", [GROUP_STEP // 2, 2 * 73])
def test_groups_that_no_kernel_takes_are_told(size: int) -> None:
    assert round_to_nearest(weights(2, size * 4), Scheme.W4A16, size).cut() is None


def test_parts_alike_are_joined_and_others_are_not() -> None:
    first, second = (round_to_nearest(weights(rows, 64, rows), Scheme.W4A16, 32) for rows in (3, 5))
    symmetric = QuantisedLinear(Scheme.W4A16, second.values, second.scales)
    both = joined([first, symmetric])
    assert both is not None
    assert torch.equal(both.dequantised(), torch.cat([first.dequantised(), symmetric.dequantised()]))
    assert joined([first, round_to_nearest(weights(5, 64), Scheme.W4A16, 64)]) is None
    assert joined([first, round_to_nearest(weights(5, 64), Scheme.W8A16, 32)]) is None


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: QuantisedLinear(Scheme.W4A16, torch.zeros(2, 8, dtype=torch.int8), torch.ones(2, 1)),
        lambda: QuantisedLinear(Scheme.W4A16, torch.zeros(2, 8, dtype=torch.uint8), torch.ones(2, 3)),
        lambda: QuantisedLinear(Scheme.W4A16, torch.zeros(2, 8, dtype=torch.uint8), torch.ones(3, 1)),
        lambda: QuantisedLinear(Scheme.W8A8, torch.zeros(2, 8, dtype=torch.int8), torch.ones(2, 2)),
        lambda: QuantisedLinear(
            Scheme.W4A16, torch.zeros(2, 8, dtype=torch.uint8), torch.ones(2, 1), torch.zeros(2, 2, dtype=torch.uint8)
        ),
        lambda: round_to_nearest(torch.zeros(2, 9), Scheme.W4A16, 4),
    ],
)
def test_parts_that_do_not_fit_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"scale|weights|groups"):
        wrong()  # type: ignore[operator]
