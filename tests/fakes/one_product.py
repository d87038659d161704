"""A forward pass that is one matrix product, to look at a single kernel through a whole backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pennyweight.kernels.backend import Backend
from pennyweight.kernels.geometry import Geometry
from pennyweight.kernels.ops import Ops
from pennyweight.kernels.quantised import QuantisedLinear
from pennyweight.kernels.step import Step

EPS = 1e-6


@dataclass
class OneProduct:
    """rms_norm(x) @ weight.T + bias for the rows of ``inputs`` [V, K] that a step names."""

    inputs: Tensor
    parts: Sequence[Tensor | QuantisedLinear]
    biases: Sequence[Tensor | None] = ()

    def install(self, backend: Backend, max_rows: int = 256) -> Backend:
        ops = backend.ops
        rows, columns = self.inputs.shape
        weight = ops.prepare_linear(self.parts, self.biases)
        table, norm = ops.prepare_table(self.inputs), ops.prepare_vector(torch.ones(columns))

        def forward(ops: Ops) -> Tensor:
            return ops.linear(ops.rms_norm(ops.embedding(table), norm, EPS, weight), weight)

        backend.allocate(
            Geometry(
                num_layers=1,
                hidden_size=columns,
                intermediate_size=columns,
                num_heads=1,
                num_kv_heads=1,
                head_dim=16,
                vocab_size=rows,
                max_model_len=16,
                rope_cos=torch.ones(16, 8),
                rope_sin=torch.zeros(16, 8),
                block_size=16,
                num_blocks=1,
                max_tokens=max_rows,
                max_seqs=1,
                max_logit_rows=max_rows,
            )
        )
        backend.capture(forward)
        return backend

    def normed(self, rows: Sequence[int]) -> Tensor:
        """What the product reads, before it is rounded, in float64."""
        x = self.inputs.bfloat16().double()[list(rows)]
        return x / (x.square().mean(dim=-1, keepdim=True) + EPS).sqrt()


def rows_step(rows: Sequence[int]) -> Step:
    """A step whose tokens are these rows of the inputs."""

    def int32(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int32)

    count = len(rows)
    return Step(
        token_ids=int32(list(rows)),
        positions=int32([0] * count),
        slots=int32([0] * count),
        query_start=int32([0, count]),
        context_lens=int32([count]),
        block_tables=int32([0]).view(1, 1),
        logit_rows=int32(list(range(count))),
        max_context=count,
    )
