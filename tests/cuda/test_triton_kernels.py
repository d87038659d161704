"""The Triton kernels on a card, at the sizes of a model of 8B: near float64, and the same to the bit in any company."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from fakes.tiny_decoder import TinyDecoder, make_step
from torch import Tensor

from pennyweight.kernels.geometry import Geometry, KVCache
from pennyweight.kernels.ops import Precision
from pennyweight.kernels.quantised import QuantisedLinear, Scheme, quantise_rows, round_to_nearest
from pennyweight.kernels.step import Step
from pennyweight.kernels.torch_backend import CudaGraphs, TensorBackend

# [N, K] of Llama-3.1-8B: queries, keys and values; down; gate and up.
SHAPES = [(6144, 4096), (4096, 14336), (28672, 4096)]
KINDS = [None, *Scheme]
COUNTS = [1, 2, 8, 16, 17, 63, 64, 65, 128, 255, 2048]


@pytest.fixture
def card(device: str) -> torch.device:
    if torch.device(device).type != "cuda":
        pytest.skip("Triton compiles for cards only")
    return torch.device(device)


def kernels(name: str) -> Any:
    """A module of them. Not imported with this one: tests on machines without a card import Triton for its interpreter."""
    return importlib.import_module(f"pennyweight.kernels.triton.{name}")


def drawn(*shape: int, seed: int, card: torch.device) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator(card).manual_seed(seed), device=card)


def relative_error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scheme", KINDS, ids=str)
def test_products_are_near_float64_and_the_same_to_the_bit_for_any_number_of_tokens(
    card: torch.device, scheme: Scheme | None, shape: tuple[int, int]
) -> None:
    channels, columns = shape
    floats = drawn(channels, columns, seed=1, card=card) * columns**-0.5
    part: Tensor | QuantisedLinear = floats.bfloat16()
    if scheme is not None:
        part = round_to_nearest(floats, scheme, None if scheme is Scheme.W8A8 else 128)
    exact = (part.dequantised() if isinstance(part, QuantisedLinear) else part).double()
    weight = kernels("weights").prepare_weight([part], None, card, int8=False)
    x = drawn(max(COUNTS), columns, seed=2, card=card)
    values, scales = quantise_rows(x) if scheme is Scheme.W8A8 else (x.bfloat16(), None)
    read = values.double() if scales is None else values.double() * scales.double()
    linear = kernels("matmul").linear

    def of(count: int) -> Tensor:
        found: Tensor = linear(values[:count], weight, token_scales=None if scales is None else scales[:count])
        return found

    whole = of(max(COUNTS))
    assert relative_error(whole, read @ exact.t()) < 1e-5
    for count in COUNTS:
        assert torch.equal(of(count), whole[:count]), count


@pytest.mark.parametrize("head_dim", [64, 128])
def test_attention_is_near_float64_and_the_same_to_the_bit_decoded_or_in_a_prompt(
    card: torch.device, head_dim: int
) -> None:
    heads, kv_heads, length = 32, 8, 3000
    angles = torch.outer(torch.arange(8192.0), 500000.0 ** (-torch.arange(0, head_dim, 2) / head_dim))
    geometry = Geometry(
        num_layers=1,
        hidden_size=heads * head_dim,
        intermediate_size=1,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=1,
        max_model_len=8192,
        rope_cos=angles.cos(),
        rope_sin=angles.sin(),
        block_size=16,
        num_blocks=1024,
        max_tokens=8192,
        max_seqs=64,
        max_logit_rows=1,
    )
    qkv = drawn(length, (heads + 2 * kv_heads) * head_dim, seed=3, card=card)
    table = torch.randperm(1024, generator=torch.Generator().manual_seed(4)).tolist()

    def attend(paged: Any, computed: int, end: int) -> Tensor:
        step = make_step([([0] * end, computed, table[: -(-length // 16)])], 16)
        there = {one: getattr(step, one).to(card) for one in step.__slots__ if one not in ("max_context", "adapters")}
        paged.begin(Step(**there, max_context=end))
        found: Tensor = paged.attend(qkv[computed:end].contiguous(), 0, None, None, torch.bfloat16)
        return found

    def fresh() -> Any:
        return kernels("attention").PagedAttention(geometry, KVCache(geometry, torch.bfloat16, card))

    whole = attend(fresh(), 0, length)
    paged, computed = fresh(), 0
    for end in (1000, 1001, 1002, 1600, 2047, 2048, 2049, 2990, *range(2991, length + 1)):
        assert torch.equal(attend(paged, computed, end), whole[computed:end]), end
        computed = end

    blocks = torch.tensor(table[: -(-length // 16)], device=card)
    held = (
        layers[0][blocks].transpose(0, 1).reshape(kv_heads, -1, head_dim)[:, :length].double()
        for layers in (paged.cache.keys, paged.cache.values)
    )
    keys, values = (one.repeat_interleave(heads // kv_heads, dim=0) for one in held)
    queries = qkv[-1].view(-1, head_dim)[:heads].double()
    first, second = queries.chunk(2, dim=-1)
    cos, sin = angles.cos()[length - 1].to(card).double(), angles.sin()[length - 1].to(card).double()
    rotated = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    shares = torch.einsum("hd,htd->ht", rotated, keys).div(head_dim**0.5).softmax(dim=-1)
    assert relative_error(whole[-1].view(heads, -1), torch.einsum("ht,htd->hd", shares, values)) < 0.01


@pytest.mark.parametrize("precision", [Precision.BFLOAT16, Precision.INT8])
def test_recorded_decode_steps_equal_eager_ones_to_the_bit(card: torch.device, precision: Precision) -> None:
    decoder = TinyDecoder(num_blocks=256)
    ops = kernels("ops").TritonOps

    def run(backend: Any, work: list[tuple[list[int], int, list[int]]]) -> Tensor:
        step = make_step(work, decoder.block_size, every_row=False)
        there = {one: getattr(step, one).to(card) for one in step.__slots__ if one not in ("max_context", "adapters")}
        found: Tensor = backend.run(Step(**there, max_context=step.max_context)).clone()
        return found

    eager, recorded = (
        decoder.install(TensorBackend(ops(precision, card), record=record)) for record in (None, CudaGraphs())
    )
    work = [([index + 1] * (5 + 9 * index), 0, list(range(4 * index, 4 * index + 4))) for index in range(6)]
    for backend in (eager, recorded):
        run(backend, work)
    for token in (3, 4, 5):
        work = [([*tokens, token], len(tokens), table) for tokens, _, table in work]
        assert torch.equal(run(recorded, work), run(eager, work))
        assert torch.equal(run(recorded, work[:1]), run(eager, work)[:1])
