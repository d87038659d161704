"""The operations in PyTorch: recorded decode steps, padding and grouping against single sequences and float64."""

from __future__ import annotations

import random

import pytest
import torch
from fakes.tiny_decoder import TinyDecoder, make_step

from pennyweight.kernels import torch_backend, torch_ops
from pennyweight.kernels.backend import Backend
from pennyweight.kernels.ops import Precision
from pennyweight.kernels.step import Step
from pennyweight.kernels.torch_backend import Record, TorchBackend

CPU = torch.device("cpu")
PLAIN = TinyDecoder(num_blocks=256)
DECODERS = {
    "plain": PLAIN,
    "norms and biases": TinyDecoder(qk_norm=True, bias=True, head_dim=32),
    "odd sizes": TinyDecoder(hidden=50, intermediate=70, heads=3, kv_heads=3, head_dim=10, vocab=37),
}
Work = list[tuple[list[int], int, list[int]]]


def backend_of(decoder: TinyDecoder, precision: Precision = Precision.FLOAT32, record: Record | None = None) -> Backend:
    return decoder.install(TorchBackend(precision, CPU, record=record))


def reference_of(decoder: TinyDecoder) -> Backend:
    return decoder.install(TorchBackend(Precision.FLOAT32, CPU, dtype=torch.float64))


def sequences(decoder: TinyDecoder, lengths: list[int]) -> Work:
    """Prompts of these lengths, not computed yet, in scattered blocks with room for a few tokens more."""
    source = random.Random(1)
    blocks = list(range(decoder.num_blocks))
    source.shuffle(blocks)
    return [
        (
            [source.randrange(decoder.vocab) for _ in range(length)],
            0,
            [blocks.pop() for _ in range(-(-(length + 8) // decoder.block_size))],
        )
        for length in lengths
    ]


def logits(backend: Backend, decoder: TinyDecoder, work: Work) -> torch.Tensor:
    return backend.run(make_step(work, decoder.block_size, every_row=False)).clone()


def one_by_one(backend: Backend, decoder: TinyDecoder, work: Work) -> torch.Tensor:
    return torch.cat([logits(backend, decoder, [one]) for one in work])


def decoding(work: Work, token: int) -> Work:
    return [([*tokens, token], len(tokens), table) for tokens, _, table in work]


@pytest.mark.parametrize("name", DECODERS)
def test_a_mixed_step_gives_what_its_sequences_give_alone_in_float64(name: str) -> None:
    decoder = DECODERS[name]
    work = sequences(decoder, [1, 30, 7, 90, 60, 3, 44])
    both = backend_of(decoder), reference_of(decoder)
    first = [logits(both[0], decoder, work), one_by_one(both[1], decoder, work)]
    # Some decode, some go on with more of their prompt, one is new.
    mixed = [
        ([*tokens, 5] if index % 2 else [*tokens, 1, 2, 3], len(tokens), table)
        for index, (tokens, _, table) in enumerate(work)
    ]
    second = [logits(both[0], decoder, mixed), one_by_one(both[1], decoder, mixed)]
    for ours, wanted in (first, second):
        torch.testing.assert_close(ours.double(), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("gathered", [1 << 17, 512])
@pytest.mark.parametrize("precision", list(Precision))
def test_recorded_decode_steps_equal_eager_ones(
    precision: Precision, gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_ops, "_MAX_GATHERED", gathered)
    recorded = 0

    def record(function):  # type: ignore[no-untyped-def]
        nonlocal recorded
        recorded += 1
        function()  # as the warming up does
        return function

    work = sequences(PLAIN, [300, 20, 7, 90, 260, 3, 44])
    eager, replaying = backend_of(PLAIN, precision), backend_of(PLAIN, precision, record)
    for backend in (eager, replaying):
        logits(backend, PLAIN, work[:1])
        logits(backend, PLAIN, work[1:])
    for size, token in ((7, 9), (7, 10), (3, 11), (1, 12), (5, 13)):
        some = decoding(work, token)[:size]
        ours, wanted = logits(replaying, PLAIN, some), logits(eager, PLAIN, some)
        # Padding to other shapes may change the order of sums.
        torch.testing.assert_close(ours, wanted, atol=1e-4 if precision is Precision.FLOAT32 else 0.15, rtol=0)
        work[:size] = some
    # (8, 512), (4, 512), (1, 512): the same sizes are recorded once.
    assert recorded == 3


def test_decode_steps_too_wide_to_pad_run_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    def record(function):  # type: ignore[no-untyped-def]
        raise AssertionError("recorded")

    monkeypatch.setattr(torch_backend, "MAX_GRAPH_TOKENS", 512)
    backend = backend_of(PLAIN, record=record)
    work = sequences(PLAIN, [300, 20, 7])
    logits(backend, PLAIN, work[:1])
    logits(backend, PLAIN, work[1:])
    found = logits(backend, PLAIN, decoding(work, 3))
    plain = backend_of(PLAIN)
    one_by_one(plain, PLAIN, work)
    torch.testing.assert_close(found, one_by_one(plain, PLAIN, decoding(work, 3)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("precision", list(Precision))
def test_a_recorded_step_reads_nothing_back_and_stays_on_its_device(name: str, precision: Precision) -> None:
    """On a device without memory: asking for values there, or mixing it with the CPU's, is an error as in a recording."""
    meta = torch.device("meta")
    decoder = DECODERS[name]
    backend = decoder.install(TorchBackend(precision, meta, record=lambda function: function))
    step = make_step(decoding(sequences(decoder, [20, 7, 33]), 1), decoder.block_size)
    moved = {one: getattr(step, one).to(meta) for one in step.__slots__ if one not in ("max_context", "adapters")}
    found = backend.run(Step(**moved, max_context=step.max_context))
    assert (found.shape, found.device, found.dtype) == ((3, decoder.vocab), meta, torch.float32)
    with pytest.raises(RuntimeError):
        backend.ops.begin(Step(**moved, max_context=step.max_context))  # type: ignore[attr-defined]


def test_its_description_can_be_sent_to_another_process() -> None:
    # torch.__version__ is a string of PyTorch's own type, which messages don't take.
    assert {type(value) for value in backend_of(PLAIN).describe().values()} == {str}


@pytest.mark.parametrize("precision", list(Precision))
def test_what_is_not_finite_spoils_its_own_rows_alone(precision: Precision) -> None:
    decoder, spoilt = TinyDecoder(), TinyDecoder()
    spoilt.weights["embedding"][3] = float("nan")
    clean, spoiling = backend_of(decoder, precision), backend_of(spoilt, precision)
    bad: Work = [([3] * 16, 0, [4])]
    good: Work = [([1, 2, 5], 0, [4])]
    found = logits(spoiling, decoder, bad)
    # Quantised, a row that is no number is a row of zeros.
    assert found.isnan().all() or precision is Precision.INT8
    torch.testing.assert_close(logits(spoiling, decoder, good), logits(clean, decoder, good), atol=0, rtol=0)
