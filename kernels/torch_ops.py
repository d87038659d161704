"""The operations in plain PyTorch: the reference for every other kernel, the way on CUDA, and the CPU's fallback.

``TorchOps`` runs each operation when it is called. ``TorchBackend`` drives it; on CUDA it replays decode steps as CUDA
graphs, one for each padded batch size and context bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .backend import Forward
from .geometry import Geometry, KVCache
from .ops import Precision
from .step import Step

# torch._int_mm wants more than 16 rows on CUDA, and sizes that are multiples of 8.
_INT_MM_ROWS = 32


@dataclass(frozen=True, slots=True)
class _Linear:
    """``weight`` is [K, N] (a view of [N, K] storage); ``scale`` [N] float32 for int8."""

    weight: Tensor
    bias: Tensor | None
    scale: Tensor | None = None


@dataclass(frozen=True, slots=True)
class _Quantised:
    """int8 [T, K] and one float32 scale for each token [T, 1]."""

    values: Tensor
    scale: Tensor


_Activation = Tensor | _Quantised


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric int8 of each row of float [R, K]: values in -127 to 127 and float32 scales [R, 1]; x is about values * scale.

    A row of zeros has scale 0. Rounds half to even.
    """
    x = x.float()
    largest = x.abs().amax(dim=-1, keepdim=True)
    inverse = torch.where(largest > 0, 127.0 / largest, torch.zeros_like(largest))
    return torch.round(x * inverse).to(torch.int8), largest / 127.0


class TorchOps:
    """Implements Ops. ``dtype`` is float64 only where this is the reference: then all of FLOAT32's values are float64."""

    def __init__(self, precision: Precision, device: torch.device, *, dtype: torch.dtype | None = None) -> None:
        self.precision = precision
        self.device = device
        self.wide = torch.float64 if dtype is torch.float64 else torch.float32
        self.compute = self.wide if precision is Precision.FLOAT32 else torch.bfloat16
        self._step: Step | None = None
        self._geometry: Geometry | None = None
        self._cache: KVCache | None = None
        self._cos = self._sin = torch.empty(0)

    def bind(self, geometry: Geometry, cache: KVCache) -> None:
        """Take the sizes, the rotation tables and the cache that ``attention`` works with."""
        self._geometry, self._cache = geometry, cache
        self._cos = geometry.rope_cos.to(self.device, self.wide)
        self._sin = geometry.rope_sin.to(self.device, self.wide)

    def begin(self, step: Step) -> None:
        """Take the step that the next operations belong to."""
        self._step = step

    def prepare_linear(self, parts: Sequence[Tensor], biases: Sequence[Tensor | None] = ()) -> _Linear:
        rows = sum(part.shape[0] for part in parts)
        given = list(biases) or [None] * len(parts)
        bias = None
        if any(one is not None for one in given):
            pieces = [
                torch.zeros(part.shape[0]) if one is None else one.float()
                for part, one in zip(parts, given, strict=True)
            ]
            bias = torch.cat(pieces).to(self.device, self.wide)
        quantised = self.precision is Precision.INT8
        dtype = torch.int8 if quantised else self.compute
        weight = torch.empty(rows, parts[0].shape[1], dtype=dtype, device=self.device)
        scale = torch.empty(rows, dtype=torch.float32, device=self.device) if quantised else None
        start = 0
        for part in parts:
            stop = start + part.shape[0]
            if scale is not None:
                values, scales = quantise_rows(part)
                weight[start:stop] = values.to(self.device)
                scale[start:stop] = scales[:, 0].to(self.device)
            else:
                weight[start:stop] = part.to(self.device, dtype)
            start = stop
        return _Linear(weight.t(), bias, scale)

    def prepare_table(self, weight: Tensor) -> Tensor:
        return weight.to(self.device, self.compute)

    def prepare_vector(self, weight: Tensor) -> Tensor:
        return weight.to(self.device, self.wide)

    def embedding(self, table: Tensor) -> Tensor:
        return table[self._now.token_ids.long()].to(self.wide)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> _Activation:
        return self._activation(self._normed(x, weight, eps))

    def linear(self, a: _Activation, weight: _Linear) -> Tensor:
        if isinstance(a, _Quantised):
            assert weight.scale is not None
            product = _int8_product(a.values, weight.weight).float() * a.scale * weight.scale
        elif a.dtype is torch.bfloat16 and a.is_cuda:
            product = torch.mm(a, weight.weight, out_dtype=torch.float32)
        else:
            # CPU has no bfloat16 product with a float32 result; widening first keeps the accumulation exact to float32.
            product = torch.mm(a.to(self.wide), weight.weight.to(self.wide))
        return product if weight.bias is None else product + weight.bias

    def linear_add(self, residual: Tensor, a: _Activation, weight: _Linear) -> Tensor:
        return residual.add_(self.linear(a, weight))

    def attention(self, qkv: Tensor, layer: int, q_norm: Tensor | None, k_norm: Tensor | None) -> _Activation:
        geometry, step, cache = self._geometry, self._now, self._cache
        assert geometry is not None
        assert cache is not None
        heads, kv_heads, dim = geometry.num_heads, geometry.num_kv_heads, geometry.head_dim
        query, key, value = torch.split(qkv.view(-1, heads + 2 * kv_heads, dim), [heads, kv_heads, kv_heads], dim=1)
        if q_norm is not None:
            query = self._normed(query, q_norm, geometry.qk_norm_eps)
        if k_norm is not None:
            key = self._normed(key, k_norm, geometry.qk_norm_eps)
        positions = step.positions.long()
        cos, sin = self._cos[positions, None], self._sin[positions, None]
        query = _rotate(query, cos, sin).to(self.compute)
        slots = step.slots.long()
        block, offset = slots // geometry.block_size, slots % geometry.block_size
        cache.keys[layer][block, :, offset] = _rotate(key, cos, sin).to(cache.keys.dtype)
        cache.values[layer][block, :, offset] = value.to(cache.values.dtype)
        return self._activation(self._attend(query, layer).reshape(-1, heads * dim))

    def silu_mul(self, gate_up: Tensor) -> _Activation:
        gate, up = gate_up.chunk(2, dim=-1)
        return self._activation(functional.silu(gate) * up)

    def logit_rows(self, x: Tensor) -> Tensor:
        return x[self._now.logit_rows.long()]

    @property
    def _now(self) -> Step:
        assert self._step is not None, "begin() comes before the operations"
        return self._step

    def _activation(self, x: Tensor) -> _Activation:
        if self.precision is Precision.INT8:
            return _Quantised(*quantise_rows(x))
        return x.to(self.compute)

    def _normed(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps) * weight

    def _attend(self, query: Tensor, layer: int) -> Tensor:
        """Attention of query [T, Hq, D] over the cache, [T, Hq, D]."""
        step = self._now
        if step.num_tokens == step.num_seqs:
            # One token each: all sequences in one call, their contexts padded to the longest.
            return self._attend_padded(
                query[:, :, None], layer, step.block_tables, step.context_lens, step.max_context
            )[:, :, 0]
        starts = step.query_start.tolist()
        lens = step.context_lens.tolist()
        pieces = []
        for index, context in enumerate(lens):
            rows = query[starts[index] : starts[index + 1]].transpose(0, 1)[None]
            table, length = step.block_tables[index : index + 1], step.context_lens[index : index + 1]
            pieces.append(self._attend_padded(rows, layer, table, length, context)[0].transpose(0, 1))
        return torch.cat(pieces)

    def _attend_padded(self, query: Tensor, layer: int, tables: Tensor, lens: Tensor, max_context: int) -> Tensor:
        """Causal attention of query [S, Hq, Q, D], whose last rows are the last tokens; lens [S] includes them."""
        geometry, cache = self._geometry, self._cache
        assert geometry is not None
        assert cache is not None
        num_blocks = -(-max_context // geometry.block_size)
        blocks = tables[:, :num_blocks].long()
        count, _, rows, dim = query.shape
        shape = (count, geometry.num_kv_heads, num_blocks * geometry.block_size, dim)
        keys = cache.keys[layer][blocks].transpose(1, 2).reshape(shape).to(query.dtype)
        values = cache.values[layer][blocks].transpose(1, 2).reshape(shape).to(query.dtype)
        places = torch.arange(shape[2], device=self.device)
        last = lens.long()[:, None] - rows + torch.arange(rows, device=self.device)
        allowed = places <= last[:, :, None]
        # Blocks past a sequence's own are another's: whatever stands there (even NaN) must not count.
        inside = (places < lens.long()[:, None])[:, None, :, None]
        values = torch.where(inside, values, torch.zeros((), dtype=values.dtype, device=self.device))
        if self.device.type == "cpu":
            keys, values, query = keys.to(self.wide), values.to(self.wide), query.to(self.wide)
        out = functional.scaled_dot_product_attention(query, keys, values, attn_mask=allowed[:, None], enable_gqa=True)
        return out.to(self.wide)


class TorchBackend:
    """Implements Backend with TorchOps. ``use_graphs`` replays decode steps as CUDA graphs."""

    def __init__(
        self, precision: Precision, device: torch.device, *, dtype: torch.dtype | None = None, use_graphs: bool = False
    ) -> None:
        self.ops = TorchOps(precision, device, dtype=dtype)
        self.device = device
        self.kv_dtype = self.ops.compute
        self._use_graphs = use_graphs and device.type == "cuda"
        self._forward: Forward | None = None
        self._graphs: dict[tuple[int, int], _DecodeGraph] = {}
        self._pool: object | None = None

    def allocate(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self.cache = KVCache(geometry, self.kv_dtype, self.device)
        self.ops.bind(geometry, self.cache)

    def capture(self, forward: Forward) -> None:
        self._forward = forward

    @torch.inference_mode()
    def run(self, step: Step) -> Tensor:
        assert self._forward is not None, "capture() comes before run()"
        if self._use_graphs and step.num_tokens == step.num_seqs == step.num_logit_rows:
            return self._replay(step)
        self.ops.begin(step)
        logits: Tensor = self._forward(self.ops)
        return logits.float() if self.ops.wide is torch.float32 else logits

    def describe(self) -> dict[str, str]:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return {"kernels": "torch", "torch": torch.__version__, "device": name, "graphs": str(self._use_graphs)}

    def _replay(self, step: Step) -> Tensor:
        """The logits of a decode step, by a graph for the next power of two of its sequences and of its context."""
        assert self._forward is not None
        seqs = min(_next_power_of_two(step.num_seqs), self._geometry.max_seqs)
        context = min(max(_next_power_of_two(step.max_context), 256), self._geometry.max_model_len)
        graph = self._graphs.get((seqs, context))
        if graph is None:
            graph = _DecodeGraph(self.ops, self._forward, self._geometry, seqs, context, self._pool)
            self._pool = graph.pool
            self._graphs[seqs, context] = graph
        return graph.replay(step)


class _DecodeGraph:
    """A decode step of ``seqs`` sequences with at most ``context`` tokens each, captured once.

    Rows beyond the step's own repeat its first: they write the same key and value to the same slot again.
    """

    def __init__(
        self, ops: TorchOps, forward: Forward, geometry: Geometry, seqs: int, context: int, pool: object | None
    ) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int32, device=ops.device)

        rows = torch.arange(seqs + 1, dtype=torch.int32, device=ops.device)
        self._step = Step(
            token_ids=zeros(seqs),
            positions=zeros(seqs),
            slots=zeros(seqs),
            query_start=rows,
            context_lens=zeros(seqs) + 1,
            block_tables=zeros(seqs, geometry.max_blocks_per_seq),
            logit_rows=rows[:seqs],
            max_context=context,
        )
        # Warming up runs the forward pass over slot 0 of block 0, which may be in use: put it back afterwards.
        assert ops._cache is not None
        saved = [cache[:, 0].clone() for cache in (ops._cache.keys, ops._cache.values)]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            ops.begin(self._step)
            for _ in range(2):
                forward(ops)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):  # type: ignore[arg-type]
            ops.begin(self._step)
            self._logits: Tensor = forward(ops)
        self.pool = self._graph.pool()
        for cache, block in zip((ops._cache.keys, ops._cache.values), saved, strict=True):
            cache[:, 0] = block

    def replay(self, step: Step) -> Tensor:
        """The logits [S, V] of a step with at most this graph's sequences and context."""
        count = step.num_seqs
        for name in ("token_ids", "positions", "slots", "context_lens"):
            mine, theirs = getattr(self._step, name), getattr(step, name)
            mine[:count] = theirs
            mine[count:] = theirs[0]
        width = step.block_tables.shape[1]
        self._step.block_tables[:count, :width] = step.block_tables
        self._step.block_tables[count:, :width] = step.block_tables[0]
        self._graph.replay()
        return self._logits[:count]


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def _int8_product(a: Tensor, b: Tensor) -> Tensor:
    """int8 [M, K] @ int8 [K, N] = int32 [M, N], exact."""
    rows = a.shape[0]
    if a.is_cuda and rows < _INT_MM_ROWS:
        a = functional.pad(a, (0, 0, 0, _INT_MM_ROWS - rows))
    return torch._int_mm(a, b)[:rows]


def _next_power_of_two(value: int) -> int:
    return 1 << (value - 1).bit_length()
