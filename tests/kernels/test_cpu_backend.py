"""The compiled CPU kernels against the reference in float64, and against themselves in other company."""

from __future__ import annotations

import random

import pytest
import torch
from fakes.tiny_decoder import TinyDecoder, make_step

from pennyweight.kernels.backend import Backend
from pennyweight.kernels.cpu import library as cpu_library
from pennyweight.kernels.cpu.library import Library, cpu_isa
from pennyweight.kernels.cpu.program import CpuBackend
from pennyweight.kernels.ops import KVCacheDtype, Precision
from pennyweight.kernels.torch_backend import TorchBackend

SHAPES = {
    "grouped": TinyDecoder(),
    "wide heads": TinyDecoder(hidden=128, heads=4, kv_heads=1, head_dim=64),
    "head of 128": TinyDecoder(hidden=64, heads=2, kv_heads=2, head_dim=128),
    "more heads than lanes": TinyDecoder(hidden=64, heads=20, kv_heads=1, head_dim=16),
    "norms and biases": TinyDecoder(qk_norm=True, bias=True, head_dim=32),
    "odd sizes": TinyDecoder(hidden=50, intermediate=70, heads=3, kv_heads=3, head_dim=10, vocab=37),
    "blocks of 32": TinyDecoder(block_size=32, num_blocks=32),
}
EVERYTHING = "avx2 fma f16c bmi2 avx512f avx512bw avx512dq avx512vl avx512_vnni avx512_bf16 amx_tile amx_bf16 amx_int8"


def tokens_of(seed: int, count: int, vocab: int) -> list[int]:
    return [random.Random(seed).randrange(vocab) for _ in range(count)]


def run(backend: Backend, *args: object, **kwargs: object) -> torch.Tensor:
    return backend.run(make_step(*args, **kwargs)).clone()  # type: ignore[arg-type]


def tables(decoder: TinyDecoder, lengths: list[int]) -> list[list[int]]:
    """Blocks for sequences of these lengths, scattered."""
    blocks = list(range(decoder.num_blocks))
    random.Random(3).shuffle(blocks)
    return [[blocks.pop() for _ in range(-(-length // decoder.block_size))] for length in lengths]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("precision", "tolerance"), [(Precision.FLOAT32, 2e-4), (Precision.BFLOAT16, 0.12), (Precision.INT8, 0.5)]
)
def test_logits_are_those_of_the_reference(
    library: Library, shape: str, precision: Precision, tolerance: float
) -> None:
    decoder = SHAPES[shape]
    kernels = decoder.install(CpuBackend(library, precision, threads=2))
    reference = decoder.install(TorchBackend(Precision.FLOAT32, torch.device("cpu"), dtype=torch.float64))
    lengths = [1, 17, 90, 280 if decoder.num_blocks * decoder.block_size > 900 else 40]
    where = tables(decoder, [length + 2 for length in lengths])
    prompts = [tokens_of(seed, length, decoder.vocab) for seed, length in enumerate(lengths)]
    # The longest in two chunks, the second beside the others; then all decode.
    long = prompts[-1]
    steps = [
        [(long[: len(long) // 2], 0, where[-1])],
        [(prompt, 0, table) for prompt, table in zip(prompts[:-1], where, strict=False)]
        + [(long, len(long) // 2, where[-1])],
        [([*prompt, 5], len(prompt), table) for prompt, table in zip(prompts, where, strict=True)],
    ]
    for work in steps:
        ours, wanted = (run(backend, work, decoder.block_size).double() for backend in (kernels, reference))
        assert ours.shape == wanted.shape
        scale = wanted.std()
        assert ((ours - wanted).abs().max() / scale).item() < tolerance
        assert ((ours - wanted).square().mean().sqrt() / scale).item() < tolerance / 4


@pytest.mark.parametrize("precision", list(Precision))
def test_int8_and_bfloat16_are_those_of_plain_pytorch(library: Library, precision: Precision) -> None:
    decoder = SHAPES["wide heads"]
    kernels = decoder.install(CpuBackend(library, precision, threads=1))
    plain = decoder.install(TorchBackend(precision, torch.device("cpu")))
    work = [(tokens_of(1, 60, decoder.vocab), 0, tables(decoder, [60])[0])]
    ours, theirs = (run(backend, work, decoder.block_size) for backend in (kernels, plain))
    assert ((ours - theirs).std() / theirs.std()).item() < 0.02


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("precision", list(Precision))
def test_a_cache_in_int8_stays_close_to_the_reference(library: Library, shape: str, precision: Precision) -> None:
    decoder = SHAPES[shape]
    kernels = decoder.install(CpuBackend(library, precision, threads=2, kv_cache_dtype=KVCacheDtype.INT8))
    plain = decoder.install(TorchBackend(precision, torch.device("cpu"), kv_cache_dtype=KVCacheDtype.INT8))
    lengths = [1, 15, 16, 280 if decoder.num_blocks * decoder.block_size > 900 else 40]
    where = tables(decoder, [length + 2 for length in lengths])
    prompts = [tokens_of(seed, length, decoder.vocab) for seed, length in enumerate(lengths)]
    steps = [
        [(prompt, 0, table) for prompt, table in zip(prompts, where, strict=True)][:3],
        [(prompts[3][: lengths[3] // 2], 0, where[3])],
        [(prompts[3], lengths[3] // 2, where[3])],
        [([*prompt, 5], len(prompt), table) for prompt, table in zip(prompts, where, strict=True)],
    ]
    for work in steps:
        ours, theirs = (run(backend, work, decoder.block_size) for backend in (kernels, plain))
        assert ((ours - theirs).square().mean().sqrt() / theirs.std()).item() < 0.02


@pytest.mark.parametrize(
    ("precision", "kv_cache_dtype"),
    [*((precision, KVCacheDtype.AUTO) for precision in Precision), (Precision.BFLOAT16, KVCacheDtype.INT8)],
)
def test_a_sequence_gets_the_same_bits_in_any_company(
    library: Library, precision: Precision, kv_cache_dtype: KVCacheDtype
) -> None:
    decoder = SHAPES["grouped"]
    prompt = tokens_of(11, 330, decoder.vocab)
    others = [tokens_of(seed, 5 + 13 * seed, decoder.vocab) for seed in range(9)]
    where = tables(decoder, [340, *(len(other) + 1 for other in others)])

    def prefill_alone_then_decode_alone(backend: Backend) -> torch.Tensor:
        last = [run(backend, [(prompt[:200], 0, where[0])], 16)[-1]]
        last.append(run(backend, [(prompt[:329], 200, where[0])], 16)[-1])
        last.append(run(backend, [(prompt, 329, where[0])], 16)[-1])
        return torch.stack(last)

    def prefill_in_odd_chunks_beside_others(backend: Backend) -> torch.Tensor:
        kept = {}
        for start, stop in ((0, 7), (7, 60), (60, 61), (61, 200), (200, 210), (210, 329), (329, 330)):
            near = [(other, 0, table) for other, table in zip(others[: start % 5 + 1], where[1:], strict=False)]
            near = [one for one in near if len(one[0]) + stop - start < 200]
            step = [*near, (prompt[:stop], start, where[0])]
            kept[stop] = run(backend, step, 16)[-1]
        return torch.stack([kept[200], kept[329], kept[330]])

    def made(threads: int) -> Backend:
        return decoder.install(CpuBackend(library, precision, threads=threads, kv_cache_dtype=kv_cache_dtype))

    alone = prefill_alone_then_decode_alone(made(1))
    together = prefill_in_odd_chunks_beside_others(made(2))
    torch.testing.assert_close(alone, together, rtol=0, atol=0)


@pytest.mark.parametrize("kv_cache_dtype", KVCacheDtype)
def test_what_another_sequence_left_in_a_block_does_not_count(library: Library, kv_cache_dtype: KVCacheDtype) -> None:
    decoder = SHAPES["grouped"]
    backend = decoder.install(CpuBackend(library, Precision.BFLOAT16, threads=1, kv_cache_dtype=kv_cache_dtype))
    prompt, table = tokens_of(1, 5, decoder.vocab), [4]
    clean = run(backend, [(prompt, 0, table)], 16)
    poisoned = decoder.weights["embedding"][3].clone()
    decoder.weights["embedding"][3] = float("nan")
    try:
        spoiling = decoder.install(CpuBackend(library, Precision.BFLOAT16, threads=1, kv_cache_dtype=kv_cache_dtype))
    finally:
        decoder.weights["embedding"][3] = poisoned
    assert run(spoiling, [([3] * 16, 0, table)], 16).isnan().all()
    prompt = [token if token != 3 else 4 for token in prompt]
    torch.testing.assert_close(
        run(spoiling, [(prompt, 0, table)], 16), run(backend, [(prompt, 0, table)], 16), rtol=0, atol=0
    )
    assert clean.isfinite().all()


@pytest.mark.parametrize(
    ("flags", "most", "expected"),
    [
        ("sse2 avx2 fma f16c bmi2", None, "avx2"),
        ("sse2 avx2 fma f16c bmi2 avx512f avx512bw avx512dq avx512vl", None, "avx2"),
        (EVERYTHING, None, "amx"),
        (EVERYTHING, "avx512", "avx512"),
        (EVERYTHING, "avx2", "avx2"),
        (EVERYTHING, "none", "none"),
        ("sse2 avx", None, "none"),
    ],
)
def test_the_best_instruction_set_is_chosen_that_the_cpu_has_and_the_limit_allows(
    flags: str, most: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_library, "_cpu_flags", lambda: frozenset(flags.split()))
    if most is None:
        monkeypatch.delenv(cpu_library.ISA_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(cpu_library.ISA_VARIABLE, most)
    assert cpu_isa() == expected
