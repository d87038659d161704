"""The operations in plain PyTorch: the reference for every other kernel, the way on CUDA, and the CPU's fallback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .geometry import Geometry, KVCache
from .ops import Precision
from .quantised import QuantisedLinear, Scheme, quantise_rows, round_to_nearest
from .step import Step
from .tensor_ops import Int8Rows, TensorActivation, TensorOps

# torch._int_mm wants more than 16 rows on CUDA, and other sizes that are multiples of 8.
_INT_MM_ROWS = 32
_INT_MM_MULTIPLE = 8
# The most tokens of context, padding included, whose keys and values are gathered at once: 2 GiB of them for a layer of
# 8 heads of 128 in bfloat16 would be 2^19.
_MAX_GATHERED = 1 << 17
# Contexts are padded to powers of two from here on, so that sequences of like lengths share a call and a graph.
MIN_CONTEXT = 256


@dataclass(frozen=True, slots=True)
class _Linear:
    """``weight`` is [K, N] (a view of [N, K] storage); ``scale`` [N] float32 for int8, whose K and N are padded with zeros."""

    weight: Tensor
    bias: Tensor | None
    rows: int
    scale: Tensor | None = None


@dataclass(frozen=True, slots=True)
class _Attended:
    """Sequences that attend in one call: S of them with Q new tokens each, over a context padded to L tokens.

    ``rows`` are the Q * S rows of the step that they own, None for all of them in order. ``places`` [S, Hkv, L / block_size]
    index the cache seen as one row for each block and head. ``allowed`` [S, 1, Q, L] is the causal mask.
    """

    rows: Tensor | None
    places: Tensor
    allowed: Tensor


@dataclass(frozen=True, slots=True)
class _Plan:
    """What every layer of a step needs of its index arrays, worked out once."""

    cos: Tensor
    sin: Tensor
    block: Tensor
    offset: Tensor
    attended: list[_Attended]


class TorchOps(TensorOps):
    """Implements Ops. ``dtype`` is float64 only where this is the reference: then all of FLOAT32's values are float64."""

    def __init__(self, precision: Precision, device: torch.device, *, dtype: torch.dtype | None = None) -> None:
        super().__init__(precision, device, wide=torch.float64 if dtype is torch.float64 else torch.float32)
        # The CPU sums in the wide type, so that this is the reference there.
        self._attention_dtype = self.wide if device.type == "cpu" else self.compute
        self._plan: _Plan | None = None
        self._geometry: Geometry | None = None
        self._cache: KVCache | None = None
        self._cos = self._sin = torch.empty(0)

    def bind(self, geometry: Geometry, cache: KVCache) -> None:
        self._geometry, self._cache = geometry, cache
        self._cos = geometry.rope_cos.to(self.device, self.wide)
        self._sin = geometry.rope_sin.to(self.device, self.wide)

    def begin(self, step: Step, *, padded: bool = False) -> None:
        super().begin(step, padded=padded)
        geometry = self._geometry
        assert geometry is not None, "bind() comes before begin()"
        positions, slots = step.positions.long(), step.slots.long()
        self._plan = _Plan(
            cos=self._cos[positions, None],
            sin=self._sin[positions, None],
            block=slots // geometry.block_size,
            offset=slots % geometry.block_size,
            attended=list(self._padded_calls(step) if padded else self._calls(step)),
        )

    def describe(self) -> dict[str, str]:
        return {"kernels": "torch"}

    def variance(self, *, adapters: bool) -> str:
        return "PyTorch's kernels compute it, which add in an order that depends on the batch"

    def prepare_linear(
        self, parts: Sequence[Tensor | QuantisedLinear], biases: Sequence[Tensor | None] = ()
    ) -> _Linear:
        sizes = [part.shape[0] for part in parts]
        rows = sum(sizes)
        bias = self._joined_bias(sizes, biases or [None] * len(parts))
        columns = parts[0].shape[1]
        if all(self._is_int8(part) for part in parts):
            padded = _round_up(rows), _round_up(columns)
            weight = torch.zeros(padded, dtype=torch.int8, device=self.device)
            scale = torch.zeros(padded[0], dtype=torch.float32, device=self.device)
        else:
            weight = torch.empty(rows, columns, dtype=self.compute, device=self.device)
            scale = None
        start = 0
        for part in parts:
            stop = start + part.shape[0]
            if scale is not None:
                quantised = part if isinstance(part, QuantisedLinear) else round_to_nearest(part, Scheme.W8A8)
                weight[start:stop, :columns].copy_(quantised.values)
                scale[start:stop].copy_(quantised.scales[:, 0])
            else:
                weight[start:stop].copy_(part.dequantised() if isinstance(part, QuantisedLinear) else part)
            start = stop
        self._weight_bytes += weight.nbytes
        return _Linear(weight.t(), bias, rows, scale)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, reader: _Linear) -> TensorActivation:
        return self._activation(self._normed(x, weight, eps), reader)

    def linear(self, a: TensorActivation, weight: _Linear) -> Tensor:
        if isinstance(a, Int8Rows):
            assert weight.scale is not None
            product = _int8_product(a.values, weight.weight).float() * a.scale * weight.scale
            product = product[:, : weight.rows]
        elif a.dtype is torch.bfloat16 and self.device.type != "cpu":
            product = torch.mm(a, weight.weight, out_dtype=torch.float32)
        else:
            # CPU has no bfloat16 product with a float32 result; widening first keeps the accumulation exact to float32.
            product = torch.mm(a.to(self.wide), weight.weight.to(self.wide))
        return product if weight.bias is None else product + weight.bias

    def linear_add(self, residual: Tensor, a: TensorActivation, weight: _Linear) -> Tensor:
        return residual.add_(self.linear(a, weight))

    def attention(
        self, qkv: Tensor, layer: int, q_norm: Tensor | None, k_norm: Tensor | None, reader: _Linear
    ) -> TensorActivation:
        geometry, plan, cache = self._geometry, self._plan, self._cache
        assert geometry is not None
        assert plan is not None, "begin() comes before the operations"
        assert cache is not None
        heads, kv_heads, dim = geometry.num_heads, geometry.num_kv_heads, geometry.head_dim
        rotated, value = torch.split(qkv.view(-1, heads + 2 * kv_heads, dim), [heads + kv_heads, kv_heads], dim=1)
        if q_norm is not None and k_norm is not None:
            query, key = torch.split(rotated, [heads, kv_heads], dim=1)
            rotated = torch.cat(
                (self._normed(query, q_norm, geometry.qk_norm_eps), self._normed(key, k_norm, geometry.qk_norm_eps)),
                dim=1,
            )
        rotated = _rotate(rotated, plan.cos, plan.sin).to(self.compute)  # as the cache holds it
        query, key = torch.split(rotated, [heads, kv_heads], dim=1)
        self._store(cache.keys[layer], cache.key_scales, layer, key)
        self._store(cache.values[layer], cache.value_scales, layer, value.to(self.compute))
        calls = plan.attended
        if len(calls) == 1 and calls[0].rows is None:
            out = self._attend(query, layer, calls[0])
        else:
            out = torch.empty(query.shape, dtype=self._attention_dtype, device=self.device)
            for call in calls:
                assert call.rows is not None
                out[call.rows] = self._attend(query[call.rows], layer, call)
        return self._activation(out.reshape(-1, heads * dim), reader)

    def silu_mul(self, gate_up: Tensor, reader: _Linear) -> TensorActivation:
        gate, up = gate_up.chunk(2, dim=-1)
        return self._activation(functional.silu(gate) * up, reader)

    def _is_int8(self, part: Tensor | QuantisedLinear) -> bool:
        """Whether weights are kept in int8; those with wider activations are kept as the floats that they stand for."""
        if isinstance(part, QuantisedLinear):
            return part.scheme is Scheme.W8A8
        return self.precision is Precision.INT8

    def _activation(self, x: Tensor, reader: _Linear) -> TensorActivation:
        if reader.scale is not None:
            return Int8Rows(*quantise_rows(x))
        return x.to(self.compute)

    def _store(self, cache: Tensor, scales: Tensor | None, layer: int, rows: Tensor) -> None:
        """Put a step's keys or values [T, Hkv, D] into a layer's cache.

        Nothing that is not finite may stay behind: masked or not, it would spoil whoever gets the block next.
        """
        assert self._plan is not None, "begin() comes before the operations"
        block, offset = self._plan.block, self._plan.offset
        rows = _finite(rows)
        if scales is None:
            cache[block, :, offset] = rows
            return
        found = (rows.float().abs().amax(dim=-1, keepdim=True) / 127.0).half()
        inverse = torch.where(found > 0, 1.0 / found.float(), torch.zeros_like(found, dtype=torch.float32))
        cache[block, :, offset] = torch.round(rows.float() * inverse).clamp(-127, 127).to(torch.int8)
        scales[layer][block, :, offset] = found

    def _normed(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), weight, eps)

    def _padded_calls(self, step: Step) -> Iterator[_Attended]:
        """All sequences of a decode step, in as many calls as the gathered keys and values need."""
        at_once = max(1, _MAX_GATHERED // step.max_context)
        if step.num_seqs <= at_once:
            yield self._call(None, step.block_tables, step.context_lens, 1, step.max_context)
            return
        for first in range(0, step.num_seqs, at_once):
            some = slice(first, first + at_once)
            rows = torch.arange(step.num_seqs, device=self.device)[some]
            yield self._call(rows, step.block_tables[some], step.context_lens[some], 1, step.max_context)

    def _calls(self, step: Step) -> Iterator[_Attended]:
        """Sequences with one new token together with those of like contexts; those with more one by one."""
        starts = step.query_start.tolist()
        contexts = step.context_lens.tolist()
        alike: dict[int, list[int]] = {}
        for index, context in enumerate(contexts):
            count = starts[index + 1] - starts[index]
            if count == 1:
                alike.setdefault(max(next_power_of_two(context), MIN_CONTEXT), []).append(index)
            else:
                rows = torch.arange(starts[index], starts[index + 1], device=self.device)
                one = slice(index, index + 1)
                yield self._call(rows, step.block_tables[one], step.context_lens[one], count, context)
        for padded, members in alike.items():
            at_once = max(1, _MAX_GATHERED // padded)
            for first in range(0, len(members), at_once):
                some = members[first : first + at_once]
                longest = max(contexts[index] for index in some)
                indices = torch.tensor(some, device=self.device)
                rows = torch.tensor([starts[index] for index in some], device=self.device)
                yield self._call(rows, step.block_tables[indices], step.context_lens[indices], 1, longest)

    def _call(self, rows: Tensor | None, tables: Tensor, lens: Tensor, count: int, context: int) -> _Attended:
        """The attention of sequences with ``count`` new tokens each, the last of lens [S], over ``context`` places."""
        geometry = self._geometry
        assert geometry is not None
        num_blocks = -(-context // geometry.block_size)
        heads = torch.arange(geometry.num_kv_heads, device=self.device)
        places = tables[:, None, :num_blocks].long() * geometry.num_kv_heads + heads[:, None]
        last = lens.long()[:, None] - count + torch.arange(count, device=self.device)
        allowed = torch.arange(num_blocks * geometry.block_size, device=self.device) <= last[:, :, None]
        return _Attended(rows, places.contiguous(), allowed[:, None])

    def _attend(self, query: Tensor, layer: int, call: _Attended) -> Tensor:
        """Attention of query [S * Q, Hq, D] over the cache, of the same shape."""
        geometry, cache = self._geometry, self._cache
        assert geometry is not None
        assert cache is not None
        seqs, kv_heads, _ = call.places.shape
        count, length = call.allowed.shape[2:]
        dim, group = geometry.head_dim, geometry.num_heads // kv_heads

        def gathered(values: Tensor, scales: Tensor | None) -> Tensor:
            rows = values.view(-1, geometry.block_size * dim)[call.places.view(-1)].view(seqs, kv_heads, length, dim)
            if scales is None:
                return rows
            found = scales[layer].view(-1, geometry.block_size)[call.places.view(-1)]
            return rows.to(self._attention_dtype) * found.view(seqs, kv_heads, length, 1).to(self._attention_dtype)

        keys = gathered(cache.keys[layer], cache.key_scales)
        values = gathered(cache.values[layer], cache.value_scales)
        # The queries that share a head of keys become rows of one: keys and values are not repeated for them.
        query = query.view(seqs, count, kv_heads, group, dim).permute(0, 2, 3, 1, 4).reshape(seqs, kv_heads, -1, dim)
        allowed = call.allowed.repeat(1, 1, group, 1)
        keys, values, query = (x.to(self._attention_dtype) for x in (keys, values, query))
        out = functional.scaled_dot_product_attention(query, keys, values, attn_mask=allowed)
        out = out.view(seqs, kv_heads, group, count, dim).permute(0, 3, 1, 2, 4)
        return out.reshape(seqs * count, geometry.num_heads, dim)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def _finite(x: Tensor) -> Tensor:
    return torch.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)


def _int8_product(a: Tensor, b: Tensor) -> Tensor:
    """int8 [M, K] @ int8 [K, N] = int32 [M, N], exact; b's K may be padded."""
    rows, width = a.shape
    missing = _INT_MM_ROWS - rows if a.device.type != "cpu" and rows < _INT_MM_ROWS else 0
    if missing or width != b.shape[0]:
        a = functional.pad(a, (0, b.shape[0] - width, 0, missing))
    return torch._int_mm(a, b)[:rows]


def _round_up(size: int) -> int:
    return -(-size // _INT_MM_MULTIPLE) * _INT_MM_MULTIPLE


def next_power_of_two(value: int) -> int:
    """The least power of two that is not below ``value``."""
    return 1 << (value - 1).bit_length()
