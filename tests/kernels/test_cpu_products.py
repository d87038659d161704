"""The CPU's matrix products one by one: against float64, in any company, into memory that held nonsense."""

from __future__ import annotations

import pytest
import torch
from fakes.one_product import OneProduct, rows_step
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pennyweight.kernels.cpu.library import Library
from pennyweight.kernels.cpu.program import CpuBackend
from pennyweight.kernels.ops import Precision
from pennyweight.kernels.quantised import QuantisedLinear, Scheme, quantise_rows, round_to_nearest

# Relative to the results' spread. What is rounded to 16 bits is nearly exact; an activation at the edge between two codes of 8 bits, or
# two bfloat16, may fall to either side.
BOUNDS = {
    "float32": 1e-5,
    "bfloat16": 0.02,
    Scheme.W8A8: 0.03,
    Scheme.W8A16: 2e-4,
    Scheme.W4A16: 2e-4,
}
KINDS = list(BOUNDS)


def normal(rows: int, columns: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def quantised(weight: torch.Tensor, kind: str, group: int) -> torch.Tensor | QuantisedLinear:
    if kind not in list(Scheme):
        return weight
    found = round_to_nearest(weight, Scheme(kind), None if kind == Scheme.W8A8 else group)
    # Checkpoints have scales of 16 bits.
    return QuantisedLinear(found.scheme, found.values, found.scales.half().float(), found.zeros)


def install(library: Library, product: OneProduct, kind: str, threads: int = 2) -> CpuBackend:
    precision = Precision.FLOAT32 if kind == "float32" else Precision.BFLOAT16
    backend = CpuBackend(library, precision, threads=threads)
    product.install(backend)
    return backend


def wanted(product: OneProduct, rows: list[int], kind: str) -> torch.Tensor:
    """The product in float64, over activations as the kernel's form has them where that is exact."""
    weight = torch.cat(
        [part.dequantised() if isinstance(part, QuantisedLinear) else part for part in product.parts]
    ).double()
    x = product.normed(rows)
    if kind == "float32":
        x = product.inputs.double()[rows]
        x = x / (x.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
    elif kind == Scheme.W8A8:
        values, scales = quantise_rows(x.float())
        x = values.double() * scales.double()
    elif kind == "bfloat16":
        weight = weight.bfloat16().double()
    return x @ weight.t()


@pytest.mark.parametrize("kind", KINDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(
    rows=st.integers(1, 40),
    channels=st.integers(1, 150),
    groups=st.integers(1, 6),
    size=st.sampled_from([8, 32, 40, 64, 96, 128, 256]),
    seed=st.integers(0, 1000),
)
def test_a_product_is_that_of_float64(
    library: Library, kind: str, rows: int, channels: int, groups: int, size: int, seed: int
) -> None:
    columns = groups * size
    product = OneProduct(normal(50, columns, seed), [quantised(normal(channels, columns, seed + 1), kind, size)])
    backend = install(library, product, kind)
    assert backend._logits is not None
    backend._logits.data.fill_(float("nan"))
    chosen = [(7 * row + seed) % 50 for row in range(rows)]
    found, expected = backend.run(rows_step(chosen)).double(), wanted(product, chosen, kind)
    assert ((found - expected).abs().max() / expected.square().mean().sqrt()).item() < BOUNDS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_has_the_same_bits_beside_any_others(library: Library, kind: str) -> None:
    weight = normal(200, 576, 1)
    product = OneProduct(normal(300, 576, 0), [quantised(weight, kind, 64)])
    alone = install(library, product, kind, threads=1)
    single = torch.cat([alone.run(rows_step([row])).clone() for row in range(20)])
    together = install(library, product, kind, threads=2)
    for count in (2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 100, 127, 128, 255, 256):
        rows = [(11 * place) % 300 for place in range(count)]
        at = (count * 5) % count if count < 4 else count // 3
        rows[at] = count % 20
        found = together.run(rows_step(rows))[at]
        torch.testing.assert_close(found, single[count % 20], rtol=0, atol=0)


@pytest.mark.parametrize("scheme", [Scheme.W8A16, Scheme.W4A16])
def test_activations_of_codes_have_sixteen_bits(library: Library, scheme: Scheme) -> None:
    """One column that is a thousand times the others would drown them in eight bits."""
    inputs = normal(4, 256, 3)
    inputs[:, 17] *= 1000
    weight = normal(64, 256, 4)
    weight[:, 17] = 0
    part = round_to_nearest(weight, scheme, 32)
    product = OneProduct(inputs, [part])
    found = install(library, product, scheme).run(rows_step([0, 1, 2, 3])).double()
    expected = product.normed([0, 1, 2, 3]) @ part.dequantised().double().t()
    assert ((found - expected).abs().max() / expected.square().mean().sqrt()).item() < 0.02


@pytest.mark.parametrize("kind", [Scheme.W8A8, Scheme.W4A16])
def test_joined_projections_have_their_biases(library: Library, kind: str) -> None:
    parts = [quantised(normal(channels, 64, channels), kind, 32) for channels in (24, 8, 9)]
    biases = [torch.full((24,), 3.0), None, torch.full((9,), -2.0)]
    product = OneProduct(normal(5, 64, 0), parts, biases)
    plain = OneProduct(product.inputs, parts)
    rows = rows_step([0, 3, 4])
    difference = install(library, product, kind).run(rows) - install(library, plain, kind).run(rows)
    meant = torch.cat(
        [torch.zeros(part.shape[0]) if bias is None else bias for part, bias in zip(parts, biases, strict=True)]
    )
    torch.testing.assert_close(difference, meant.expand(3, -1), rtol=1e-5, atol=1e-5)


def test_parts_that_differ_are_multiplied_as_floats(library: Library) -> None:
    weight = normal(40, 64, 2)
    product = OneProduct(normal(5, 64, 0), [quantised(weight[:20], Scheme.W4A16, 32), weight[20:]])
    found = install(library, product, "bfloat16").run(rows_step([1, 2])).double()
    expected = wanted(product, [1, 2], "bfloat16")
    assert ((found - expected).abs().max() / expected.std()).item() < BOUNDS["bfloat16"]
