"""Compiles, on any machine and for a card that it need not have, every kernel that a step of a model of 8B launches.

``python compile_launches.py CAPABILITY`` (80, 90) prints a line of JSON for each: its name, and the bytes of shared memory that it takes.
A process of its own, as Triton's functions are either compiled or interpreted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from typing import Any

import numpy as np
import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from pennyweight.kernels.geometry import Geometry, KVCache
from pennyweight.kernels.quantised import Scheme, round_to_nearest
from pennyweight.kernels.sampling import SamplingBatch
from pennyweight.kernels.step import Step
from pennyweight.kernels.triton.attention import PagedAttention
from pennyweight.kernels.triton.matmul import linear
from pennyweight.kernels.triton.rows import quantise_rows, rms_norm, silu_mul
from pennyweight.kernels.triton.sampling import sample_rows
from pennyweight.kernels.triton.weights import CodedWeight, Int8Weight, prepare_weight

META = torch.device("meta")  # sizes without memory
TYPES = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.int8: "*i8",
    torch.uint8: "*u8",
}


def launches() -> Iterator[tuple[Any, dict[str, Any]]]:
    """Every launch of ``work`` once: its function, and its arguments and options by name."""
    made: list[tuple[Any, dict[str, Any]]] = []

    def run(function: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        made.append((function, dict(zip(function.arg_names, args, strict=False)) | kwargs))

    JITFunction.run = run
    work()
    seen = set()
    for function, arguments in made:
        key = (function.__name__, str(sorted((name, described(value)) for name, value in arguments.items())))
        if key not in seen:
            seen.add(key)
            yield function, arguments


def described(value: Any) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else str(value)


def work() -> None:
    columns, channels = 14336, 4096  # down: K is split
    floats = torch.empty(channels, columns, device=META)
    for weight in (
        prepare_weight([floats], None, META, int8=False),
        prepare_weight([round_to_nearest(floats, Scheme.W8A8)], None, META, int8=True),
        coded(channels, columns, Scheme.W4A16),
        coded(channels, columns, Scheme.W8A16),
    ):
        for tokens in (3, 64, 4096):
            int8 = isinstance(weight, Int8Weight)
            x = torch.empty(tokens, columns, dtype=torch.int8 if int8 else torch.bfloat16, device=META)
            scales = torch.empty(tokens, 1, device=META) if int8 else None
            linear(x, weight, token_scales=scales, residual=torch.empty(tokens, channels, device=META))
    x, both = torch.empty(5, 4096, device=META), torch.empty(5, 28672, device=META)
    for dtype in (torch.bfloat16, torch.int8):
        rms_norm(x, torch.empty(4096, device=META), 1e-5, dtype)
        silu_mul(both, dtype)
    quantise_rows(x)
    attend()
    attend(head_dim=64)
    sample()


def coded(channels: int, columns: int, scheme: Scheme) -> CodedWeight:
    """Zero points for four bits, none for eight; groups of 128."""
    shape = channels, columns // 128
    places = 32 // scheme.bits
    words = torch.empty(columns // (32 * places), channels, 32, dtype=torch.int32, device=META)
    scales = torch.empty(shape[::-1], dtype=torch.float16, device=META)
    zeros = torch.empty(shape[::-1], dtype=torch.uint8, device=META) if scheme is Scheme.W4A16 else None
    return CodedWeight(words, scales, zeros, None, columns, scheme.bits, 128)


def attend(head_dim: int = 128) -> None:
    """Decode steps and mixed ones."""
    geometry = Geometry(
        num_layers=1,
        hidden_size=4096,
        intermediate_size=14336,
        num_heads=32,
        num_kv_heads=8,
        head_dim=head_dim,
        vocab_size=128256,
        max_model_len=8192,
        rope_cos=torch.empty(8192, head_dim // 2, device=META),
        rope_sin=torch.empty(8192, head_dim // 2, device=META),
        block_size=16,
        num_blocks=4096,
        max_tokens=8192,
        max_seqs=64,
        max_logit_rows=128,
    )
    kernels = PagedAttention(geometry, KVCache(geometry, torch.bfloat16, META))
    for tokens, seqs in ((8, 8), (500, 8)):

        def sized(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=torch.int32, device=META)

        step = Step(
            token_ids=sized(tokens),
            positions=sized(tokens),
            slots=sized(tokens),
            query_start=sized(seqs + 1),
            context_lens=sized(seqs),
            block_tables=sized(seqs, 512),
            logit_rows=sized(seqs),
            max_context=8192,
        )
        kernels.begin(step)
        kernels.attend(torch.empty(tokens, 48 * head_dim, device=META), 0, None, None, torch.bfloat16)


def sample() -> None:
    rows = 4
    zeros = {
        one.name: np.zeros(rows, np.uint64 if one.name == "seed" else np.float32)
        for one in fields(SamplingBatch)
        if one.name not in ("mask", "masked")
    }
    with suppress(NotImplementedError):  # there is nothing to bring back
        sample_rows(torch.empty(rows, 128256, device=META), SamplingBatch(**zeros))


def compiled(function: Any, arguments: dict[str, Any], target: GPUTarget) -> Any:
    """As a launch would compile it. Sizes and addresses that are multiples of 16 are known to be; a size of 1 is a constant."""
    signature, constants, attributes = {}, {}, {}
    for place, parameter in enumerate(function.params):
        value = arguments[parameter.name]
        unchanging = value is None or parameter.is_constexpr or (value == 1 if isinstance(value, int) else False)
        if unchanging and not (parameter.do_not_specialize and not parameter.is_constexpr):
            signature[parameter.name] = "constexpr"
            constants[parameter.name] = value
        elif isinstance(value, Tensor):
            signature[parameter.name] = TYPES[value.dtype]
            attributes[(place,)] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[parameter.name] = "fp32"
        else:
            signature[parameter.name] = "i32"
            if value % 16 == 0 and not parameter.do_not_specialize:
                attributes[(place,)] = [["tt.divisibility", 16]]
    options = {name: value for name, value in arguments.items() if name not in function.arg_names}
    source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=target, options=options)


if __name__ == "__main__":
    card = GPUTarget("cuda", int(sys.argv[1]), 32)
    for function, arguments in launches():
        kernel = compiled(function, arguments, card)
        print(json.dumps({"name": kernel.metadata.name, "shared": kernel.metadata.shared}), flush=True)
