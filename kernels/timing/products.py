"""Matrix products of M rows of activations with weights [N, K], at every precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from pennyweight.kernels.backend import Backend, Forward
from pennyweight.kernels.ops import Ops, PreparedLinear, Projection
from pennyweight.kernels.quantised import LARGEST_GROUP, QuantisedLinear, Scheme, round_to_nearest

from .passes import decode_step, geometry, seconds_each
from .timing import Timing, median_seconds

MOST_COPIES = 192
GROUP = 64

Make = Callable[[], Backend]
# What precisions' products are timed, and in what their operations are done.
ARITHMETIC = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    Scheme.W8A8: "int8",
    Scheme.W8A16: "int16",
    Scheme.W4A16: "int16",
}
BYTES = {"float32": 4.0, "bfloat16": 2.0, Scheme.W8A8: 1.0, Scheme.W8A16: 1.0, Scheme.W4A16: 0.5}


def weights_of(kind: str, rows: int, columns: int) -> Tensor | QuantisedLinear:
    """Random weights as a checkpoint of the kind has them."""
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)).div_(columns**0.5)
    if kind in list(Scheme):
        return round_to_nearest(weight, Scheme(kind), None if kind == Scheme.W8A8 else group_of(columns))
    return weight


def group_of(columns: int) -> int:
    """The size of groups that is timed: 64 columns, or what divides K."""
    return next(size for size in range(min(GROUP, LARGEST_GROUP), 0, -1) if columns % size == 0)


def product_bytes(kind: str, m: int, k: int, n: int) -> int:
    """Weights with their scales and zero points once, activations of 16 bits (of 32 for float32) and results of 32."""
    groups = k // group_of(k) if kind in (Scheme.W8A16, Scheme.W4A16) else 0
    weights = n * k * BYTES[kind] + n * groups * 3
    return int(weights) + m * k * (4 if kind == "float32" else 2) + 4 * m * n


def copies_of(kind: str, k: int, n: int, spread: int) -> int:
    """How many weights of a size take up ``spread`` bytes, but not more than MOST_COPIES."""
    return max(1, min(MOST_COPIES, int(spread / (n * k * BYTES[kind]))))


def time_ours(make: Make, kind: str, m: int, k: int, n: int, spread: int, by: str) -> Timing:
    """By a backend's own kernels. ``spread`` bytes of weights are gone through: more than a cache holds, as in a model."""

    def forward(backend: Backend, count: int) -> Forward:
        ops = backend.ops
        weight = weights_of(kind, n, k)
        prepared: list[PreparedLinear] = [ops.prepare_linear([weight]) for _ in range(max(count, 1))]
        table, norm = ops.prepare_table(torch.randn(1, k)), ops.prepare_vector(torch.ones(k))

        def run(ops: Ops) -> Projection:
            a = ops.rms_norm(ops.embedding(table), norm, 1e-6, prepared[0])
            out = a
            for one in prepared[:count]:
                out = ops.linear(a, one)
            return out if count else ops.embedding(table)

        return run

    device = make().device
    seconds = seconds_each(make, forward, geometry(k, m), decode_step([1] * m, device), copies_of(kind, k, n, spread))
    return _timing(kind, by, m, k, n, seconds)


def time_torch(kind: str, m: int, k: int, n: int, spread: int, device: torch.device) -> Timing | None:
    """By what PyTorch has for it on the device; None where it has nothing."""
    products = list(_torch_products(kind, m, k, n, copies_of(kind, k, n, spread), device))
    if not products:
        return None
    place = iter(range(1 << 40))

    def act() -> None:
        for _ in products:
            products[next(place) % len(products)]()

    seconds = median_seconds(act, device) / len(products)
    return _timing(kind, "torch", m, k, n, seconds)


def _torch_products(
    kind: str, m: int, k: int, n: int, copies: int, device: torch.device
) -> Iterator[Callable[[], object]]:
    x = torch.randn(m, k, device=device)
    for _ in range(copies):
        if kind in ("float32", "bfloat16"):
            dtype = torch.float32 if kind == "float32" else torch.bfloat16
            weight, given = torch.randn(n, k, device=device, dtype=dtype), x.to(dtype)
            yield lambda weight=weight, given=given: functional.linear(given, weight)  # type: ignore[misc]
        elif kind == Scheme.W8A8:
            if device.type == "cuda" and m <= 16:
                return
            codes = torch.randint(-127, 128, (n, k), dtype=torch.int8, device=device)
            rows = torch.randint(-127, 128, (m, k), dtype=torch.int8, device=device)
            yield lambda codes=codes, rows=rows: torch._int_mm(rows, codes.t())  # type: ignore[misc]
        elif kind == Scheme.W8A16 and device.type == "cpu":
            codes = torch.randint(-127, 128, (n, k), dtype=torch.int8)
            scales, given = torch.ones(n, dtype=torch.bfloat16), x.bfloat16()
            yield lambda codes=codes, given=given, scales=scales: torch._weight_int8pack_mm(given, codes, scales)  # type: ignore[misc]
        elif kind == Scheme.W4A16 and device.type == "cpu" and n % 16 == 0 and group_of(k) in (32, 64, 128):
            packed = torch._convert_weight_to_int4pack_for_cpu(torch.randint(0, 16, (n, k), dtype=torch.int32), 1)
            size, given = group_of(k), x.bfloat16()
            scales = torch.ones(k // size, n, 2, dtype=torch.bfloat16)
            yield lambda packed=packed, given=given, scales=scales, size=size: torch._weight_int4pack_mm_for_cpu(  # type: ignore[misc]
                given, packed, size, scales
            )


def _timing(kind: str, by: str, m: int, k: int, n: int, seconds: float) -> Timing:
    return Timing(
        kernel=f"product {kind}",
        by=by,
        sizes={"M": m, "K": k, "N": n},
        seconds=seconds,
        operations=2 * m * k * n,
        num_bytes=product_bytes(kind, m, k, n),
        arithmetic=ARITHMETIC[kind],
    )
