"""Adapters of a step's rows: against the reference in float64, against weights with the adapter added, and in other company."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from fakes.tiny_decoder import TinyDecoder, make_step

from pennyweight.kernels.backend import Backend
from pennyweight.kernels.cpu import library as cpu_library
from pennyweight.kernels.cpu.library import Library, cpu_isa, library_path
from pennyweight.kernels.cpu.program import CpuBackend
from pennyweight.kernels.ops import Precision
from pennyweight.kernels.torch_backend import TorchBackend

CPU = torch.device("cpu")
SHAPES = {
    "grouped": TinyDecoder(),
    "odd sizes": TinyDecoder(hidden=50, intermediate=70, heads=3, kv_heads=3, head_dim=10),
}
Make = Callable[[Precision], Backend]


@pytest.fixture(params=["torch", "amx", "avx512", "avx2"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a backend: PyTorch's, or compiled for each instruction set."""
    if request.param == "torch":
        return lambda precision: TorchBackend(precision, CPU)
    path = library_path(request.param)
    if path is None:
        pytest.skip("the CPU kernels are not built: no C++ compiler")
    monkeypatch.setenv(cpu_library.ISA_VARIABLE, request.param)
    if cpu_isa() != request.param:
        pytest.skip(f"this CPU has no {request.param}")
    return lambda precision: CpuBackend(Library(path, request.param), precision, threads=2)


def place_two(decoder: TinyDecoder, backend: Backend) -> Backend:
    backend.place_adapter(0, decoder.adapter(1, 8))
    backend.place_adapter(2, decoder.adapter(2, 5, leave_out=(1, 4, 6)))
    return backend


def work_of(decoder: TinyDecoder, lengths: list[int]) -> list[tuple[list[int], int, list[int]]]:
    generator = torch.Generator().manual_seed(5)
    blocks = iter(range(decoder.num_blocks))
    found = []
    for length in lengths:
        tokens = torch.randint(decoder.vocab, (length,), generator=generator).tolist()
        found.append((tokens, 0, [next(blocks) for _ in range(-(-length // decoder.block_size))]))
    return found


LENGTHS = [3, 1, 20, 33, 1, 7]
SLOTS = [0, -1, 2, 0, 2, -1]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("precision", "tolerance"), [(Precision.FLOAT32, 2e-4), (Precision.BFLOAT16, 0.2), (Precision.INT8, 0.6)]
)
def test_logits_are_those_of_the_reference(make: Make, shape: str, precision: Precision, tolerance: float) -> None:
    decoder = SHAPES[shape]
    ours = place_two(decoder, decoder.install(make(precision)))
    reference = place_two(decoder, decoder.install(TorchBackend(Precision.FLOAT32, CPU, dtype=torch.float64)))
    step = make_step(work_of(decoder, LENGTHS), decoder.block_size, slots=SLOTS)
    found, wanted = ours.run(step).double(), reference.run(step)
    assert ((found - wanted).abs().max() / wanted.std()).item() < tolerance


def test_an_adapter_gives_what_weights_with_it_give(make: Make) -> None:
    decoder, merged = TinyDecoder(), TinyDecoder()
    names = [
        f"{layer}.{name}" for layer in range(2) for name in ("qkv", "qkv", "qkv", "o", "gate_up", "gate_up", "down")
    ]
    for name, part in zip(names, decoder.adapter(1, 8), strict=True):
        assert part is not None
        merged.weights[name][part.first : part.first + len(part.b)] += part.b @ part.a
    backend = place_two(decoder, decoder.install(make(Precision.FLOAT32)))
    work = work_of(decoder, LENGTHS)
    adapted = backend.run(make_step(work, decoder.block_size, slots=[0] * len(LENGTHS)))
    expected = merged.install(make(Precision.FLOAT32)).run(make_step(work, decoder.block_size))
    torch.testing.assert_close(adapted, expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("precision", list(Precision))
def test_rows_without_an_adapter_keep_their_bits(make: Make, precision: Precision) -> None:
    decoder = TinyDecoder()
    backend = place_two(decoder, decoder.install(make(precision)))
    work = work_of(decoder, LENGTHS)
    plain = backend.run(make_step(work, decoder.block_size)).clone()
    mixed = backend.run(make_step(work, decoder.block_size, slots=SLOTS)).clone()
    start = 0
    for length, slot in zip(LENGTHS, SLOTS, strict=True):
        rows = slice(start, start := start + length)
        assert torch.equal(plain[rows], mixed[rows]) == (slot == -1)


def test_an_adapter_s_rows_have_the_same_bits_in_any_company(make: Make) -> None:
    decoder = TinyDecoder()
    backend = place_two(decoder, decoder.install(make(Precision.BFLOAT16)))
    if isinstance(backend, TorchBackend):
        pytest.skip("PyTorch's products vary with the batch")
    work = work_of(decoder, LENGTHS)
    mixed = backend.run(make_step(work, decoder.block_size, slots=SLOTS)).clone()
    start = 0
    for one, length, slot in zip(work, LENGTHS, SLOTS, strict=True):
        alone = backend.run(make_step([one], decoder.block_size, slots=[slot]))
        assert torch.equal(alone, mixed[start : start + length])
        start += length


def test_a_slot_s_adapter_can_be_replaced(make: Make) -> None:
    decoder = TinyDecoder()
    backend = place_two(decoder, decoder.install(make(Precision.FLOAT32)))
    step = make_step(work_of(decoder, [9]), decoder.block_size, slots=[0])
    before = backend.run(step).clone()
    backend.place_adapter(0, decoder.adapter(3, 32))
    assert not torch.equal(backend.run(step), before)
    backend.place_adapter(0, decoder.adapter(1, 8))
    assert torch.equal(backend.run(step), before)
