"""What is done row by row: norms, the gated activation, choosing tokens."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from pennyweight.kernels.backend import Backend, Forward
from pennyweight.kernels.ops import Ops, Projection
from pennyweight.kernels.quantised import Scheme
from pennyweight.kernels.sampling import SamplingBatch, sample, sample_reference

from .passes import decode_step, geometry, seconds_each
from .products import Make, weights_of
from .timing import Timing, median_seconds

COPIES = 64


def time_norm(make: Make, kind: str, m: int, k: int, by: str) -> Timing:
    """RMS norm and rounding to what weights of a kind are multiplied with."""

    def forward(backend: Backend, count: int) -> Forward:
        ops = backend.ops
        reader = ops.prepare_linear([weights_of(kind, 16, k)])
        table, norm = ops.prepare_table(torch.randn(1, k)), ops.prepare_vector(torch.ones(k))

        def run(ops: Ops) -> Projection:
            x = ops.embedding(table)
            for _ in range(count):
                ops.rms_norm(x, norm, 1e-6, reader)
            return x

        return run

    seconds = seconds_each(make, forward, geometry(k, m), decode_step([1] * m, make().device), COPIES)
    return _timing(f"norm to {kind}", by, m, k, seconds, reads=4 * m * k, writes=_activation_bytes(kind, m, k))


def time_silu_mul(make: Make, kind: str, m: int, k: int, by: str) -> Timing:
    """silu(gate) * up of rows of 2 K, and rounding to what weights of a kind are multiplied with."""

    def forward(backend: Backend, count: int) -> Forward:
        ops = backend.ops
        reader = ops.prepare_linear([weights_of(kind, 16, k)])
        table = ops.prepare_table(torch.randn(1, 2 * k))

        def run(ops: Ops) -> Projection:
            x = ops.embedding(table)
            for _ in range(count):
                ops.silu_mul(x, reader)
            return x

        return run

    seconds = seconds_each(make, forward, geometry(2 * k, m), decode_step([1] * m, make().device), COPIES)
    return _timing(f"silu-mul to {kind}", by, m, k, seconds, reads=8 * m * k, writes=_activation_bytes(kind, m, k))


def time_torch_norm(m: int, k: int, device: torch.device) -> Timing:
    x, weight = torch.randn(m, k, device=device), torch.ones(k, device=device)
    seconds = median_seconds(lambda: functional.rms_norm(x, (k,), weight, 1e-6).bfloat16(), device)
    return _timing("norm to bfloat16", "torch", m, k, seconds, reads=4 * m * k, writes=2 * m * k)


def time_sampling(rows: int, vocab_size: int, device: torch.device, *, by_reference: bool) -> Timing:
    """Temperature, top-k, top-p and min-p over rows of logits, with the logprobs of five alternatives."""
    logits = torch.randn(rows, vocab_size, generator=torch.Generator().manual_seed(0)).mul_(4).to(device)
    batch = SamplingBatch(
        temperature=np.full(rows, 0.8, np.float32),
        top_k=np.full(rows, 50, np.int32),
        top_p=np.full(rows, 0.95, np.float32),
        min_p=np.full(rows, 0.02, np.float32),
        seed=np.arange(rows, dtype=np.uint64),
        position=np.arange(rows, dtype=np.int64),
        num_top=np.full(rows, 5, np.int32),
    )
    act = sample_reference if by_reference else sample
    seconds = median_seconds(lambda: act(logits, batch), device)
    return Timing(
        kernel="sampling",
        by="reference" if by_reference else "pennyweight",
        sizes={"M": rows, "V": vocab_size},
        seconds=seconds,
        # Noise for each token is most of it: ten rounds of Philox for four, and two logarithms each.
        operations=rows * vocab_size * 40,
        num_bytes=4 * rows * vocab_size,
        arithmetic="float32",
    )


def _activation_bytes(kind: str, m: int, k: int) -> int:
    return m * k * {"float32": 4, Scheme.W8A8: 1}.get(kind, 2)


def _timing(kernel: str, by: str, m: int, k: int, seconds: float, *, reads: int, writes: int) -> Timing:
    return Timing(
        kernel=kernel,
        by=by,
        sizes={"M": m, "K": k},
        seconds=seconds,
        operations=8 * m * k,
        num_bytes=reads + writes,
        arithmetic="float32",
    )
