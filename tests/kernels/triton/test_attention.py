"""Paged attention: right, and the same to the bit for a token however it came to be computed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
import torch
from fakes.tiny_decoder import TinyDecoder, make_step
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pennyweight.kernels.geometry import KVCache
from pennyweight.kernels.ops import Precision
from pennyweight.kernels.step import Step
from pennyweight.kernels.torch_ops import TorchOps
from pennyweight.kernels.triton import attention
from pennyweight.kernels.triton.attention import PagedAttention

Work = list[tuple[list[int], int, list[int]]]


@dataclass
class Heads:
    """Sequences of drawn queries, keys and values: those of a token are a function of its id and no more."""

    heads: int = 2
    kv_heads: int = 1
    dim: int = 16
    norms: bool = False
    dtype: torch.dtype = torch.float32
    decoder: TinyDecoder = field(init=False)
    drawn: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.decoder = TinyDecoder(heads=self.heads, kv_heads=self.kv_heads, head_dim=self.dim, layers=1, num_blocks=80)
        generator = torch.Generator().manual_seed(3)
        self.drawn = torch.randn(500, (self.heads + 2 * self.kv_heads) * self.dim, generator=generator)

    def kernels(self, device: torch.device) -> PagedAttention:
        cache = KVCache(self.decoder.geometry, self.dtype, device)
        # What nobody has written is poisoned as far as it may be: it can't be infinite, as no kernel leaves that behind.
        cache.keys.fill_(1e4)
        cache.values.fill_(1e4)
        return PagedAttention(self.decoder.geometry, cache)

    def norm_weights(self, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
        if not self.norms:
            return None, None
        return self.decoder.weights["0.q_norm"].to(device), self.decoder.weights["0.k_norm"].to(device)

    def step(self, work: Work) -> tuple[Step, Tensor]:
        step = make_step(work, self.decoder.block_size)
        return step, self.drawn[step.token_ids.long()]

    def attend(self, kernels: PagedAttention, work: Work, device: torch.device) -> Tensor:
        step, qkv = self.step(work)
        there = {one: getattr(step, one).to(device) for one in step.__slots__ if one not in ("max_context", "adapters")}
        kernels.begin(Step(**there, max_context=step.max_context))
        return kernels.attend(qkv.to(device), 0, *self.norm_weights(device), self.dtype)

    def reference(self, works: list[Work]) -> Tensor:
        """The last of several steps by the reference in float64."""
        ops = TorchOps(Precision.FLOAT32, torch.device("cpu"), dtype=torch.float64)
        reader = ops.prepare_linear([torch.eye(self.heads * self.dim)])
        geometry = self.decoder.geometry
        ops.bind(geometry, KVCache(geometry, torch.float64, torch.device("cpu")))
        for work in works:
            step, qkv = self.step(work)
            ops.begin(step)
            norms = (None if one is None else one.double() for one in self.norm_weights(torch.device("cpu")))
            found = ops.attention(qkv.double(), 0, *norms, reader)
        assert isinstance(found, Tensor)
        return found


def sequences(lengths: list[int], seed: int = 1) -> Work:
    source = random.Random(seed)
    blocks = list(range(80))
    source.shuffle(blocks)
    return [
        ([source.randrange(500) for _ in range(length)], 0, [blocks.pop() for _ in range(-(-length // 16))])
        for length in lengths
    ]


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several splits of several tiles without a long context, which the interpreter would take long for."""
    monkeypatch.setattr(attention, "SPLIT", 64)
    monkeypatch.setattr(attention, "TILE", 32)


def until(work: Work, ends: list[int], computed: list[int]) -> Work:
    """The sequences up to these lengths, so much of them computed before; those with nothing new left out."""
    return [
        (tokens[:end], before, table)
        for (tokens, _, table), end, before in zip(work, ends, computed, strict=True)
        if end > before
    ]


@settings(max_examples=5, deadline=None)
@given(
    sizes=st.sampled_from([(4, 2, 16), (3, 3, 10), (6, 1, 32), (9, 3, 16), (2, 1, 64)]),
    norms=st.booleans(),
    lengths=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), min_size=1, max_size=3),
)
def test_it_is_that_of_float64(
    device: torch.device, sizes: tuple[int, int, int], norms: bool, lengths: list[tuple[int, int]]
) -> None:
    heads = Heads(*sizes, norms=norms)
    work = sequences([before + new for before, new in lengths])
    first = until(work, [before for before, _ in lengths], [0] * len(work))
    last = until(work, [before + new for before, new in lengths], [before for before, _ in lengths])
    kernels = heads.kernels(device)
    if first:
        heads.attend(kernels, first, device)
    found = heads.attend(kernels, last, device)
    torch.testing.assert_close(
        found.double().cpu(), heads.reference([first, last] if first else [last]), atol=2e-5, rtol=0
    )


def test_a_long_context_is_that_of_float64(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    heads = Heads()
    work = sequences([2 * attention.SPLIT + 40, 30])
    prompt = until(work, [len(work[0][0]) - 1, 25], [0, 0])
    rest = until(work, [len(work[0][0]), 30], [len(work[0][0]) - 1, 25])
    kernels = heads.kernels(device)
    heads.attend(kernels, prompt, device)
    found = heads.attend(kernels, rest, device)
    torch.testing.assert_close(found.double().cpu(), heads.reference([prompt, rest]), atol=2e-5, rtol=0)


@pytest.mark.parametrize("left", [1 << 25, 0])
def test_a_token_is_the_same_to_the_bit_decoded_or_in_any_piece_of_a_prompt(
    device: torch.device, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    monkeypatch.setattr(attention, "_MOST_LEFT", left)
    heads = Heads(dtype=torch.bfloat16)
    length = attention.SPLIT + 5
    work = sequences([length, 20, 33])
    whole = heads.attend(heads.kernels(device), until(work, [length, 0, 0], [0] * 3), device)
    kernels, computed = heads.kernels(device), [0, 0, 0]
    # Pieces of any size, single tokens of its own among them, with others at its side and without.
    for ends in ([20, 0, 3], [21, 20, 3], [65, 20, 4], [66, 20, 5], [length, 20, 33]):
        found = heads.attend(kernels, until(work, ends, computed), device)
        assert torch.equal(found[: ends[0] - computed[0]], whole[computed[0] : ends[0]])
        computed = ends


def test_what_is_not_finite_is_not_kept(device: torch.device) -> None:
    heads = Heads(dtype=torch.bfloat16)
    work = sequences([20])
    heads.drawn[work[0][0][3]] = float("inf")
    kernels = heads.kernels(device)
    heads.attend(kernels, work, device)
    table = work[0][2]
    for layers in (kernels.cache.keys, kernels.cache.values):
        assert layers[0, table].isfinite().all()
