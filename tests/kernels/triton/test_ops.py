"""A whole decoder by the Triton kernels, beside the reference."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from fakes.tiny_decoder import TinyDecoder, make_step
from torch import Tensor

from pennyweight.kernels.backend import Backend
from pennyweight.kernels.ops import Precision
from pennyweight.kernels.step import Step
from pennyweight.kernels.torch_backend import TensorBackend, TorchBackend
from pennyweight.kernels.triton.ops import TritonOps

PLAIN = TinyDecoder(hidden=48, intermediate=64, heads=4, vocab=37, layers=1)
DECODERS = {
    "plain": PLAIN,
    "norms and biases": replace(PLAIN, weights={}, qk_norm=True, bias=True, head_dim=32),
    "odd sizes": replace(PLAIN, weights={}, hidden=50, intermediate=70, heads=3, kv_heads=3, head_dim=10),
}
QUANTISED_OR_NOT = [Precision.BFLOAT16, Precision.INT8]
Work = list[tuple[list[int], int, list[int]]]


def run(backend: Backend, decoder: TinyDecoder, work: Work) -> Tensor:
    step = make_step(work, decoder.block_size, every_row=False)
    there = {
        one: getattr(step, one).to(backend.device) for one in step.__slots__ if one not in ("max_context", "adapters")
    }
    return backend.run(Step(**there, max_context=step.max_context)).clone()


def prompts(decoder: TinyDecoder, lengths: list[int]) -> Work:
    source = random.Random(1)
    blocks = list(range(decoder.num_blocks))
    source.shuffle(blocks)
    return [
        ([source.randrange(decoder.vocab) for _ in range(length)], 0, [blocks.pop() for _ in range(4)])
        for length in lengths
    ]


def going_on(work: Work) -> Work:
    """Some decode, some go on with more of their prompt, one is new."""
    more = [[5], [1, 2, 3]]
    return [
        ([*tokens, *more[index % 2]], len(tokens), table) for index, (tokens, _, table) in enumerate(work[:-1])
    ] + work[-1:]


@pytest.mark.parametrize(("name", "precision"), [*zip(DECODERS, [*QUANTISED_OR_NOT, Precision.INT8], strict=True)])
def test_steps_are_as_good_as_the_reference_and_the_same_to_the_bit_in_any_company(
    device: torch.device, name: str, precision: Precision
) -> None:
    decoder = DECODERS[name]
    backend, alone = (decoder.install(TensorBackend(TritonOps(precision, device))) for _ in range(2))
    cpu = torch.device("cpu")
    reference = decoder.install(TorchBackend(Precision.FLOAT32, cpu, dtype=torch.float64))
    plain = decoder.install(TorchBackend(precision, cpu))
    work = prompts(decoder, [1, 9, 4])
    for step in (work[:-1], going_on(work)):
        found = run(backend, decoder, step)
        assert torch.equal(found, torch.cat([run(alone, decoder, [one]) for one in step]))
        wanted = run(reference, decoder, step)
        ours, theirs = (
            (one.double().cpu() - wanted).norm() / wanted.norm() for one in (found, run(plain, decoder, step))
        )
        assert ours < 1.3 * theirs + 1e-3


@pytest.mark.parametrize("precision", QUANTISED_OR_NOT)
def test_recorded_decode_steps_equal_eager_ones_to_the_bit(device: torch.device, precision: Precision) -> None:
    decoder = PLAIN

    def record(function):  # type: ignore[no-untyped-def]
        function()  # as the warming up does
        return function

    eager, replaying = (
        decoder.install(TensorBackend(TritonOps(precision, device), record=one)) for one in (None, record)
    )
    work = prompts(decoder, [9, 4])
    for backend in (eager, replaying):
        run(backend, decoder, work)
    decoding = [([*tokens, 9], len(tokens), table) for tokens, _, table in work]
    assert torch.equal(run(replaying, decoder, decoding), run(eager, decoder, decoding))


def test_it_says_which_kernels_compute(device: torch.device) -> None:
    described = TensorBackend(TritonOps(Precision.BFLOAT16, device)).describe()
    assert described["kernels"] == "triton"
    assert {type(value) for value in described.values()} == {str}
