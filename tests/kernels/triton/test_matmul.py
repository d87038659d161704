"""The matrix products: right, and the same to the bit however many tokens there are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pennyweight.kernels.quantised import QuantisedLinear, Scheme, quantise_rows, round_to_nearest
from pennyweight.kernels.triton import tiles
from pennyweight.kernels.triton.matmul import linear
from pennyweight.kernels.triton.tiles import Tile, choose_tile, split_along_k
from pennyweight.kernels.triton.weights import CodedWeight, DenseWeight, Int8Weight, Weight, prepare_weight

KINDS = ("bfloat16", "w8a8", "w8a16", "w4a16", "w4a16 symmetric")


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def quantised(kind: str, channels: int, columns: int, group: int | None, seed: int = 1) -> Tensor | QuantisedLinear:
    """Weights of a kind, drawn from a seed."""
    values = drawn(channels, columns, seed=seed) * columns**-0.5
    if kind == "bfloat16":
        return values.bfloat16()
    if kind == "w4a16 symmetric":
        plain = round_to_nearest(values, Scheme.W4A16, group)
        return QuantisedLinear(plain.scheme, plain.values, plain.scales)
    scheme = Scheme(kind)
    return round_to_nearest(values, scheme, None if scheme is Scheme.W8A8 else group)


def activations(tokens: int, columns: int, weight: Weight, device: torch.device) -> tuple[Tensor, Tensor | None]:
    x = drawn(tokens, columns, seed=2).to(device)
    return quantise_rows(x) if isinstance(weight, Int8Weight) else (x.bfloat16(), None)


def reference(x: Tensor, scales: Tensor | None, part: Tensor | QuantisedLinear) -> Tensor:
    """In float64, of the very values that the kernel reads."""
    weight = part.dequantised() if isinstance(part, QuantisedLinear) else part
    found = x.double().cpu() @ weight.double().t()
    return found if scales is None else found * scales.double().cpu()


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    tokens=st.integers(1, 70),
    channels=st.integers(1, 150),
    groups=st.integers(1, 9),
    group=st.sampled_from([16, 32, 48, 64, 96, 128]),
    bias=st.booleans(),
    residual=st.booleans(),
)
def test_products_are_those_of_float64(
    device: torch.device, kind: str, tokens: int, channels: int, groups: int, group: int, bias: bool, residual: bool
) -> None:
    columns = groups * group
    part = quantised(kind, channels, columns, group)
    added = drawn(channels, seed=3) if bias else torch.zeros(channels)
    weight = prepare_weight([part], added.to(device) if bias else None, device, int8=False)
    x, scales = activations(tokens, columns, weight, device)
    before = drawn(tokens, channels, seed=4)
    stream = before.clone().to(device) if residual else None
    found = linear(x, weight, token_scales=scales, residual=stream)
    assert (found is stream) == residual
    wanted = reference(x, scales, part) + added + (before if residual else 0)
    torch.testing.assert_close(found.double().cpu(), wanted, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_the_same_to_the_bit_with_any_rows_around_it(
    device: torch.device, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "SHORTEST_PART", 256)
    channels, columns = 16, 640 if kind != "bfloat16" else 630
    weight = prepare_weight(
        [quantised(kind, channels, columns, 64)], drawn(channels, seed=3).to(device), device, int8=False
    )
    assert split_along_k(channels, columns).parts == 2
    x, scales = activations(64, columns, weight, device)

    def of(rows: Tensor, tile: Tile | None = None) -> Tensor:
        some = None if scales is None else scales[rows].contiguous()
        return linear(x[rows].contiguous(), weight, token_scales=some, tile=tile)

    few = torch.tensor([0, 29, 63])
    alone = torch.cat([of(row[None]) for row in few])
    rows = torch.cat([few, torch.randperm(64, generator=torch.Generator().manual_seed(5))])
    assert torch.equal(of(rows[:64])[:3], alone)
    for tile in (None, Tile(128, 128, warps=8, stages=3, apart=False), Tile(64, 32, warps=4, stages=2, apart=True)):
        assert torch.equal(of(rows[:17], tile)[:3], alone)


def test_int8_products_are_exact(device: torch.device) -> None:
    part = quantised("w8a8", 50, 200, None)
    assert isinstance(part, QuantisedLinear)
    weight = prepare_weight([part], None, device, int8=True)
    x, scales = activations(5, 200, weight, device)
    sums = (x.double() @ part.values.double().to(device).t()).float()
    wanted = sums * scales * part.scales[:, 0].to(device)
    assert torch.equal(linear(x, weight, token_scales=scales), wanted)


def test_parts_are_joined_in_the_form_that_they_share(device: torch.device) -> None:
    some, more = (quantised("w4a16", 40, 192, 32, seed) for seed in (1, 2))
    assert isinstance(some, QuantisedLinear)
    assert isinstance(more, QuantisedLinear)
    both = prepare_weight([some, more], None, device, int8=False)
    assert isinstance(both, CodedWeight)
    # Four bits for each weight, of columns that fill whole tiles.
    assert both.words.nbytes == 80 * 256 // 2
    x = drawn(3, 192, seed=2).bfloat16().to(device)
    wanted = torch.cat([reference(x, None, one) for one in (some, more)], dim=1)
    torch.testing.assert_close(linear(x, both).double().cpu(), wanted, atol=2e-5, rtol=2e-5)
    other = quantised("w8a16", 40, 192, 32)
    assert isinstance(prepare_weight([some, other], None, device, int8=False), DenseWeight)
    assert isinstance(prepare_weight([quantised("w4a16", 40, 192, 8)], None, device, int8=False), DenseWeight)
    floats = [drawn(8, 64, seed=1), drawn(8, 64, seed=2)]
    assert isinstance(prepare_weight(floats, None, device, int8=True), Int8Weight)
    assert isinstance(prepare_weight(floats, None, device, int8=False), DenseWeight)


def test_a_row_that_is_no_number_spoils_no_other(device: torch.device) -> None:
    weight = prepare_weight([quantised("w4a16", 30, 128, 32)], None, device, int8=False)
    x, _ = activations(4, 128, weight, device)
    clean = linear(x, weight)
    x[2] = float("nan")
    found = linear(x, weight)
    assert found[2].isnan().all()
    keep = torch.tensor([0, 1, 3])
    assert torch.equal(found[keep], clean[keep])


def test_k_is_split_by_the_weights_shape_alone() -> None:
    for channels, columns in ((4096, 4096), (6144, 4096), (28672, 4096), (4096, 14336), (128256, 4096), (576, 576)):
        split = split_along_k(channels, columns)
        assert (split.parts - 1) * split.columns < columns <= split.parts * split.columns
        for coded in (False, True):
            few = {choose_tile(tokens, channels, split, coded=coded).apart for tokens in (1, 16, 64)}
            assert few == {split.parts > 1}
            assert not choose_tile(8192, channels, split, coded=coded).apart
