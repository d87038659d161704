"""A small decoder with random weights, and steps over it: what the kernels' tests run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pennyweight.kernels.backend import Backend
from pennyweight.kernels.geometry import Geometry
from pennyweight.kernels.low_rank import LowRank
from pennyweight.kernels.ops import Ops
from pennyweight.kernels.step import Step


@dataclass
class TinyDecoder:
    """Sizes, and weights drawn from a seed; ``install`` gives them to a backend."""

    hidden: int = 96
    intermediate: int = 160
    heads: int = 6
    kv_heads: int = 2
    head_dim: int = 16
    vocab: int = 211
    layers: int = 2
    block_size: int = 16
    num_blocks: int = 64
    max_tokens: int = 256
    max_model_len: int = 640
    qk_norm: bool = False
    bias: bool = False
    weights: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(7)

        def normal(*shape: int, scale: float | None = None) -> Tensor:
            values = torch.randn(*shape, generator=generator) * (scale or shape[-1] ** -0.5)
            return values.bfloat16().float()  # so that every precision starts from the same weights

        qkv = (self.heads + 2 * self.kv_heads) * self.head_dim
        self.weights["embedding"] = normal(self.vocab, self.hidden, scale=1.0)
        for layer in range(self.layers):
            self.weights |= {
                f"{layer}.input_norm": 1 + normal(self.hidden, scale=0.1),
                f"{layer}.qkv": normal(qkv, self.hidden),
                f"{layer}.qkv_bias": normal(qkv, scale=0.1),
                f"{layer}.q_norm": 1 + normal(self.head_dim, scale=0.1),
                f"{layer}.k_norm": 1 + normal(self.head_dim, scale=0.1),
                f"{layer}.o": normal(self.hidden, self.heads * self.head_dim),
                f"{layer}.post_norm": 1 + normal(self.hidden, scale=0.1),
                f"{layer}.gate_up": normal(2 * self.intermediate, self.hidden),
                f"{layer}.down": normal(self.hidden, self.intermediate),
            }
        self.weights["final_norm"] = 1 + normal(self.hidden, scale=0.1)
        self.weights["head"] = normal(self.vocab, self.hidden)

    @property
    def geometry(self) -> Geometry:
        angles = torch.outer(
            torch.arange(self.max_model_len).double(),
            10000.0 ** (-torch.arange(0, self.head_dim, 2).double() / self.head_dim),
        )
        return Geometry(
            num_layers=self.layers,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_heads=self.heads,
            num_kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            vocab_size=self.vocab,
            max_model_len=self.max_model_len,
            rope_cos=angles.cos().float(),
            rope_sin=angles.sin().float(),
            block_size=self.block_size,
            num_blocks=self.num_blocks,
            max_tokens=self.max_tokens,
            max_seqs=16,
            max_logit_rows=self.max_tokens,
        )

    def install(self, backend: Backend) -> Backend:
        ops, weights = backend.ops, self.weights
        table = ops.prepare_table(weights["embedding"])
        linear, vector = {}, {}
        for name, weight in weights.items():
            if name.endswith("norm"):
                vector[name] = ops.prepare_vector(weight)
            elif name.endswith("qkv"):
                # In three parts, as checkpoints have them.
                sizes = [self.heads * self.head_dim, self.kv_heads * self.head_dim, self.kv_heads * self.head_dim]
                biases = weights[f"{name}_bias"].split(sizes) if self.bias else ()
                linear[name] = ops.prepare_linear(weight.split(sizes), biases)
            elif name != "embedding" and not name.endswith("bias"):
                linear[name] = ops.prepare_linear([weight])

        def forward(ops: Ops) -> Tensor:
            x = ops.embedding(table)
            for layer in range(self.layers):
                first = 7 * layer
                a = ops.rms_norm(x, vector[f"{layer}.input_norm"], 1e-5, linear[f"{layer}.qkv"])
                qkv = ops.add_low_rank(ops.linear(a, linear[f"{layer}.qkv"]), a, range(first, first + 3))
                norms = (vector[f"{layer}.q_norm"], vector[f"{layer}.k_norm"]) if self.qk_norm else (None, None)
                heads = ops.attention(qkv, layer, *norms, linear[f"{layer}.o"])
                x = ops.add_low_rank(ops.linear_add(x, heads, linear[f"{layer}.o"]), heads, range(first + 3, first + 4))
                a = ops.rms_norm(x, vector[f"{layer}.post_norm"], 1e-5, linear[f"{layer}.gate_up"])
                gate_up = ops.add_low_rank(ops.linear(a, linear[f"{layer}.gate_up"]), a, range(first + 4, first + 6))
                inner = ops.silu_mul(gate_up, linear[f"{layer}.down"])
                x = ops.linear_add(x, inner, linear[f"{layer}.down"])
                x = ops.add_low_rank(x, inner, range(first + 6, first + 7))
            x = ops.rms_norm(ops.logit_rows(x), vector["final_norm"], 1e-5, linear["head"])
            return ops.linear(x, linear["head"])

        backend.allocate(self.geometry)
        backend.capture(forward)
        return backend

    def adapter(self, seed: int, rank: int, *, leave_out: Sequence[int] = ()) -> list[LowRank | None]:
        """A random adapter; ``leave_out`` are the projections of each layer (of q, k, v, o, gate, up, down) that it leaves alone."""
        generator = torch.Generator().manual_seed(seed)
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        hidden, inner = self.hidden, self.intermediate
        sizes = [(hidden, queries, 0), (hidden, keys, queries), (hidden, keys, queries + keys), (queries, hidden, 0)]
        sizes += [(hidden, inner, 0), (hidden, inner, inner), (inner, hidden, 0)]

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator) * shape[-1] ** -0.5

        return [
            None if place in leave_out else LowRank(normal(rank, width), normal(channels, rank), first)
            for _ in range(self.layers)
            for place, (width, channels, first) in enumerate(sizes)
        ]


def make_step(
    work: Sequence[tuple[Sequence[int], int, Sequence[int]]],
    block_size: int,
    *,
    every_row: bool = True,
    slots: Sequence[int] | None = None,
) -> Step:
    """A step of (all token ids so far, how many of them are computed already, block table) for each sequence.

    ``slots`` are the sequences' adapters.
    """
    ids, positions, places, starts, lens, rows = [], [], [], [0], [], []
    width = max(len(table) for _, _, table in work)
    tables = torch.zeros(len(work), width, dtype=torch.int32)
    for index, (tokens, computed, table) in enumerate(work):
        for place in range(computed, len(tokens)):
            rows += [len(ids)] if every_row or place == len(tokens) - 1 else []
            ids.append(tokens[place])
            positions.append(place)
            places.append(table[place // block_size] * block_size + place % block_size)
        starts.append(len(ids))
        lens.append(len(tokens))
        tables[index, : len(table)] = torch.tensor(table)

    def int32(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int32)

    return Step(
        token_ids=int32(ids),
        positions=int32(positions),
        slots=int32(places),
        query_start=int32(starts),
        context_lens=int32(lens),
        block_tables=tables,
        logit_rows=int32(rows),
        max_context=max(lens),
        adapters=None
        if slots is None
        else int32(
            [slot for slot, start, end in zip(slots, starts, starts[1:], strict=False) for _ in range(end - start)]
        ),
    )
