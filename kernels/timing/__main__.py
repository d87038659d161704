"""Times the kernels of a device at the sizes of a grid, given as JSON on standard input; a line of JSON for each.

The grid: ``device``, ``threads``, ``products`` (lists of M, K, N), ``spread`` (bytes of weights for each), ``kinds``, ``decode`` (lists of sequences, context), ``prefill`` (lists
of computed, new tokens), ``heads`` (query heads, key heads, head dim), ``rows`` (lists of M, K), ``sampling`` (lists of M, V).
First comes a line with the machine's ceilings: operations a second by arithmetic, bytes a second that are read.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import Any

import torch

from pennyweight.kernels.backend import Backend
from pennyweight.kernels.dispatch import select_backend
from pennyweight.kernels.ops import Precision
from pennyweight.kernels.torch_backend import TorchBackend

from . import attention, products, rows
from .ceilings import measure_ceilings
from .passes import Heads
from .products import Make
from .timing import Timing


def time_all(grid: dict[str, Any], device: torch.device, threads: int) -> Iterator[Timing]:
    """Every kernel at every size: ours, the reference (PyTorch's operations one by one), and what PyTorch has for the same."""

    def makers(kind: str) -> list[tuple[str, Make]]:
        precision = Precision.FLOAT32 if kind == "float32" else Precision.BFLOAT16

        def ours() -> Backend:
            return select_backend(precision, device, threads)

        def reference() -> Backend:
            return TorchBackend(precision, device)

        return [("pennyweight", ours), ("reference", reference)]

    for m, k, n in grid["products"]:
        for kind in grid["kinds"]:
            for by, make in makers(kind):
                yield products.time_ours(make, kind, m, k, n, grid["spread"], by)
            if (timing := products.time_torch(kind, m, k, n, grid["spread"], device)) is not None:
                yield timing
    heads = Heads(*grid["heads"])
    for seqs, context in grid["decode"]:
        for by, make in makers("bfloat16"):
            yield attention.time_decode(make, heads, [context] * seqs, by)
        yield attention.time_torch_decode(heads, [context] * seqs, device)
    for computed, tokens in grid["prefill"]:
        for by, make in makers("bfloat16"):
            yield attention.time_prefill(make, heads, computed, tokens, by)
    for m, k in grid["rows"]:
        for kind in grid["kinds"]:
            for by, make in makers(kind):
                yield rows.time_norm(make, kind, m, k, by)
                yield rows.time_silu_mul(make, kind, m, k, by)
        yield rows.time_torch_norm(m, k, device)
    for m, vocab_size in grid["sampling"]:
        yield rows.time_sampling(m, vocab_size, device, by_reference=False)
        yield rows.time_sampling(m, vocab_size, device, by_reference=True)


@torch.inference_mode()
def main() -> None:
    grid = json.load(sys.stdin)
    device, threads = torch.device(grid["device"]), grid["threads"]
    torch.set_num_threads(threads)
    print(json.dumps(measure_ceilings(device, threads)), flush=True)
    for timing in time_all(grid, device, threads):
        print(json.dumps(dataclasses.asdict(timing)), flush=True)


if __name__ == "__main__":
    main()
