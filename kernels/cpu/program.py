"""The CPU's backend: records a model's forward pass into a program, and runs that for each step with one call into C++.

Weights are bfloat16, int8, float32, or codes of 8 or 4 bits in groups. Activations are made in the form that the product that reads
them multiplies: AVX2 has no products of bfloat16 and takes float32, and int16 for int8; codes take int16 with the sums of
their groups. The residual stream, the projections and all sums are float32; keys and values are bfloat16 (float32 for FLOAT32),
or int8 with a scale for each token and head. Buffers are made when the forward pass is recorded, one for each operation and
width: a value other than the residual stream has to be used before the same operation writes the next one of its width.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pennyweight.kernels.backend import Forward
from pennyweight.kernels.geometry import Geometry
from pennyweight.kernels.low_rank import LowRank
from pennyweight.kernels.ops import KVCacheDtype, Precision
from pennyweight.kernels.quantised import QuantisedLinear
from pennyweight.kernels.step import Step

from .adapters import AdapterTable
from .library import AttentionShape, Library, Operation, StepView
from .mapped import MappedTensor
from .packed_linear import PANEL, Form, PackedLinear, WeightType, pack

# Tiles read whole groups of rows: buffers of activations have rows to spare up to a multiple of this.
ROW_GROUP = 32
# The widest row that the kernels' working memory holds.
MAX_WIDTH = 65536
MAX_HEAD_DIM = 256

# Activations by their bytes.
_FLOATS = {4: torch.float32, 2: torch.bfloat16}
_INTEGERS = {2: torch.int16, 1: torch.int8}


# Bytes of an element of keys and values, and of their scale for each token and head.
_ELEMENTS = {WeightType.FLOAT32: 4, WeightType.BFLOAT16: 2, WeightType.INT8: 1}
_SCALES = {WeightType.FLOAT32: 0, WeightType.BFLOAT16: 0, WeightType.INT8: 2}


class _Kind(enum.IntEnum):
    EMBEDDING = 0
    RMS_NORM = 1
    LINEAR = 2
    ATTENTION = 3
    SILU_MUL = 4
    LOGIT_ROWS = 5
    LOW_RANK = 6


@dataclass(frozen=True, slots=True)
class _Value:
    """What flows between recorded operations: a buffer [rows][stride] and its width.

    Of activations also their ``form``, and where it has them the rows' scales [rows] and the groups' sums [rows][groups].
    """

    data: Tensor
    width: int
    of_rows: bool
    form: Form | None = None
    scales: Tensor | None = None
    group_sums: Tensor | None = None

    @property
    def stride(self) -> int:
        return self.data.shape[1]


class CpuOps:
    """Implements Ops by recording. ``begin`` starts a program, ``program`` is its address."""

    def __init__(self, library: Library, precision: Precision, threads: int, kv_cache_dtype: KVCacheDtype) -> None:
        self.precision = precision
        self._cache_type = _cache_type(precision, kv_cache_dtype)
        self.weight_bytes = 0
        self._library = library
        self.team = library.team(threads)
        self._geometry: Geometry | None = None
        self.program: int | None = None
        self._buffers: dict[tuple[_Kind, int, bool, Form | None], _Value] = {}
        self._kept: list[object] = []

    def prepare_linear(
        self, parts: Sequence[Tensor | QuantisedLinear], biases: Sequence[Tensor | None] = ()
    ) -> PackedLinear:
        given = list(biases) or [None] * len(parts)
        bias = None
        if any(one is not None for one in given):
            pairs = zip(parts, given, strict=True)
            bias = torch.cat([torch.zeros(part.shape[0]) if one is None else one.float() for part, one in pairs])
        linear = pack(self._library, self.team, self.precision, parts, bias)
        self.weight_bytes += linear.nbytes
        return linear

    def prepare_table(self, weight: Tensor) -> Tensor:
        dtype = torch.float32 if self.precision is Precision.FLOAT32 else torch.bfloat16
        return weight.to(dtype, copy=True).contiguous()

    def prepare_vector(self, weight: Tensor) -> Tensor:
        return weight.to(torch.float32, copy=True).contiguous()

    def begin(self, geometry: Geometry) -> None:
        """Make the cache and start a program for these sizes. Raises ValueError for sizes that the kernels can't do."""
        self._check(geometry)
        self._geometry = geometry
        dim_padded = round_up(geometry.head_dim, 16 if self._cache_type is WeightType.FLOAT32 else 32)
        self._cos, self._sin = geometry.rope_cos.float().contiguous(), geometry.rope_sin.float().contiguous()
        tokens = geometry.num_blocks * geometry.num_kv_heads * geometry.block_size
        self._layer_bytes = tokens * (dim_padded * _ELEMENTS[self._cache_type] + _SCALES[self._cache_type])
        self._cache = MappedTensor(self._library, 2 * geometry.num_layers * self._layer_bytes)
        shape = AttentionShape(
            geometry.num_heads,
            geometry.num_kv_heads,
            geometry.head_dim,
            dim_padded,
            geometry.block_size,
            geometry.num_blocks,
            self._cos.data_ptr(),
            self._sin.data_ptr(),
            geometry.qk_norm_eps,
        )
        self._attended = self._rows(geometry.num_heads * geometry.head_dim, torch.float32, of_rows=False)
        self.program = self._library.c.pw_program_create(
            self.team,
            self._cache_type,
            self._library.isa == "amx",
            geometry.max_tokens,
            ctypes.byref(shape),
        )

    @property
    def cache_blocks(self) -> NDArray[np.uint8]:
        """The bytes of each block's keys or values, by layer (first its keys, then its values) and block: [2 * L, num_blocks, bytes]."""
        geometry = self._geometry
        assert geometry is not None, "begin() makes the cache"
        return self._cache.as_bytes().reshape(2 * geometry.num_layers, geometry.num_blocks, -1)

    def embedding(self, table: Tensor) -> _Value:
        width = table.shape[1]
        out = self._wide(_Kind.EMBEDDING, width, of_rows=False)
        table_type = 0 if table.dtype is torch.float32 else 1
        self._record(_Kind.EMBEDDING, out, width=width, table_type=table_type, weight=table.data_ptr())
        self._kept.append(table)
        return out

    def rms_norm(self, x: _Value, weight: Tensor, eps: float, reader: PackedLinear) -> _Value:
        out = self._activation(_Kind.RMS_NORM, x.width, reader, of_rows=x.of_rows)
        self._record(_Kind.RMS_NORM, out, source=x, width=x.width, epsilon=eps, weight=weight.data_ptr())
        self._kept.append(weight)
        return out

    def linear(self, a: _Value, weight: PackedLinear) -> _Value:
        out = self._wide(_Kind.LINEAR, weight.n, of_rows=a.of_rows)
        self._product(a, weight, out, accumulate=False)
        return out

    def linear_add(self, residual: _Value, a: _Value, weight: PackedLinear) -> _Value:
        self._product(a, weight, residual, accumulate=True)
        return residual

    def add_low_rank(self, out: _Value, a: _Value, projections: range) -> _Value:
        operation = self._operation(_Kind.LOW_RANK, out, width=a.width, source=a)
        operation.projection, operation.projections = projections.start, len(projections)
        self._add(operation, a, out)
        return out

    def attention(
        self, qkv: _Value, layer: int, q_norm: Tensor | None, k_norm: Tensor | None, reader: PackedLinear
    ) -> _Value:
        geometry = self._geometry
        assert geometry is not None
        out = self._activation(_Kind.ATTENTION, geometry.num_heads * geometry.head_dim, reader, of_rows=False)
        keys = self._cache.address + 2 * layer * self._layer_bytes
        self._record(
            _Kind.ATTENTION,
            out,
            source=qkv,
            width=qkv.width,
            keys=keys,
            values=keys + self._layer_bytes,
            q_norm=None if q_norm is None else q_norm.data_ptr(),
            k_norm=None if k_norm is None else k_norm.data_ptr(),
            attended=self._attended.data_ptr(),
        )
        self._kept += [q_norm, k_norm]
        return out

    def silu_mul(self, gate_up: _Value, reader: PackedLinear) -> _Value:
        width = gate_up.width // 2
        out = self._activation(_Kind.SILU_MUL, width, reader, of_rows=gate_up.of_rows)
        self._record(_Kind.SILU_MUL, out, source=gate_up, width=width)
        return out

    def logit_rows(self, x: _Value) -> _Value:
        out = self._wide(_Kind.LOGIT_ROWS, x.width, of_rows=True)
        self._record(_Kind.LOGIT_ROWS, out, source=x, width=x.width)
        return out

    def check_step(self, step: Step) -> None:
        """Raise ValueError for a step over the sizes that the buffers were made for."""
        geometry = self._geometry
        assert geometry is not None
        if step.num_tokens > geometry.max_tokens or step.num_logit_rows > geometry.max_logit_rows:
            raise ValueError(
                f"a step of {step.num_tokens} tokens and {step.num_logit_rows} rows of logits: "
                f"at most {geometry.max_tokens} and {geometry.max_logit_rows}"
            )

    def _product(self, a: _Value, weight: PackedLinear, out: _Value, *, accumulate: bool) -> None:
        if a.width != weight.k:
            raise ValueError(f"a product of rows of {a.width} with weights of {weight.k}")
        if a.form != weight.form:
            raise ValueError(f"rows made for weights in {a.form} are multiplied with weights in {weight.form}")
        self._record(_Kind.LINEAR, out, source=a, width=a.width, accumulate=accumulate, weight=weight.address)
        self._kept.append(weight)

    def _record(
        self,
        kind: _Kind,
        out: _Value,
        *,
        width: int,
        source: _Value | None = None,
        accumulate: bool = False,
        epsilon: float = 0.0,
        **addresses: int | None,
    ) -> None:
        operation = self._operation(kind, out, width=width, source=source)
        operation.accumulate, operation.epsilon = accumulate, epsilon
        for name, address in addresses.items():
            setattr(operation, name, address)
        self._add(operation, source, out)

    def _operation(self, kind: _Kind, out: _Value, *, width: int, source: _Value | None) -> Operation:
        operation = Operation(kind=kind, of_rows=out.of_rows, width=width)
        if source is not None:
            operation.source, operation.source_stride = source.data.data_ptr(), source.stride
        operation.out, operation.out_stride = out.data.data_ptr(), out.stride
        # Activations are read by products and adapters, and written by everything else: never both.
        if (
            activation := next((one for one in (out, source) if one is not None and one.form is not None), None)
        ) is not None:
            assert activation.form is not None
            operation.form, operation.group = activation.form.type, activation.form.group
            operation.scales = None if activation.scales is None else activation.scales.data_ptr()
            operation.group_sums = None if activation.group_sums is None else activation.group_sums.data_ptr()
        return operation

    def _add(self, operation: Operation, *kept: _Value | None) -> None:
        self._library.c.pw_program_add(self.program, ctypes.byref(operation))
        self._kept += kept

    def _activation(self, kind: _Kind, width: int, reader: PackedLinear, *, of_rows: bool) -> _Value:
        form = reader.form
        key = (kind, width, of_rows, form)
        if key not in self._buffers:
            element = self._library.c.pw_activation_bytes(form.type)
            dtype = _INTEGERS[element] if form.is_whole else _FLOATS[element]
            data = self._rows(round_up(width, form.row_step), dtype, of_rows=of_rows)
            scales = torch.zeros(data.shape[0]) if form.is_whole else None
            sums = torch.zeros(data.shape[0], width // form.group, dtype=torch.int32) if form.group else None
            self._buffers[key] = _Value(data, width, of_rows, form, scales, sums)
        return self._buffers[key]

    def _wide(self, kind: _Kind, width: int, *, of_rows: bool) -> _Value:
        key = (kind, width, of_rows, None)
        if key not in self._buffers:
            # Products write whole panels.
            data = self._rows(round_up(width, PANEL), torch.float32, of_rows=of_rows)
            self._buffers[key] = _Value(data, width, of_rows)
        return self._buffers[key]

    def _rows(self, stride: int, dtype: torch.dtype, *, of_rows: bool) -> Tensor:
        geometry = self._geometry
        assert geometry is not None, "begin() comes before the operations"
        count = geometry.max_logit_rows if of_rows else geometry.max_tokens
        return torch.zeros(round_up(count, ROW_GROUP), stride, dtype=dtype)

    def _check(self, geometry: Geometry) -> None:
        if geometry.head_dim > MAX_HEAD_DIM or geometry.head_dim % 2:
            raise ValueError(f"a head of {geometry.head_dim}: it must be even and at most {MAX_HEAD_DIM}")
        if max(geometry.intermediate_size, geometry.hidden_size) > MAX_WIDTH:
            raise ValueError(f"rows of {geometry.intermediate_size}: at most {MAX_WIDTH} are possible")
        if geometry.block_size % 16:
            raise ValueError(f"blocks of {geometry.block_size} tokens: they must be a multiple of 16")


class CpuBackend:
    """Implements Backend with the compiled kernels."""

    def __init__(
        self,
        library: Library,
        precision: Precision,
        *,
        threads: int,
        kv_cache_dtype: KVCacheDtype = KVCacheDtype.AUTO,
    ) -> None:
        self._library = library
        self.ops = CpuOps(library, precision, threads, kv_cache_dtype)
        self.device = torch.device("cpu")
        self.kv_cache_dtype = kv_cache_dtype
        self._logits: _Value | None = None
        self._adapters = AdapterTable()

    def allocate(self, geometry: Geometry) -> None:
        self.ops.begin(geometry)
        self._max_tokens = geometry.max_tokens

    def capture(self, forward: Forward) -> None:
        self._logits = forward(self.ops)

    def place_adapter(self, slot: int, adapter: Sequence[LowRank | None]) -> None:
        self._adapters.place(slot, adapter, self._max_tokens)

    def copy_blocks(self, sources: Sequence[int], destinations: Sequence[int]) -> None:
        blocks = self.ops.cache_blocks
        blocks[:, list(destinations)] = blocks[:, list(sources)]

    def run(self, step: Step) -> Tensor:
        assert self._logits is not None, "capture() comes before run()"
        self.ops.check_step(step)
        view = StepView(
            step.token_ids.data_ptr(),
            step.positions.data_ptr(),
            step.slots.data_ptr(),
            step.query_start.data_ptr(),
            step.context_lens.data_ptr(),
            step.block_tables.data_ptr(),
            step.logit_rows.data_ptr(),
            step.block_tables.stride(0),
            step.num_tokens,
            step.num_seqs,
            step.num_logit_rows,
            self._adapters.view(step),
        )
        self._library.c.pw_program_run(self.ops.program, ctypes.byref(view))
        return self._logits.data[: step.num_logit_rows, : self._logits.width]

    @property
    def progress(self) -> int:
        found: int = self._library.c.pw_team_progress(self.ops.team)
        return found

    def describe(self) -> dict[str, str]:
        # The number of threads is not here: results don't depend on it.
        return {"kernels": "cpu", "isa": self._library.isa, "build": self._library.digest, "tiles": self._library.tiles}

    def variance(self, *, adapters: bool = False) -> str:
        return ""

    def __del__(self) -> None:
        if self.ops.program is not None:
            self._library.c.pw_program_destroy(self.ops.program)


def _cache_type(precision: Precision, kv_cache_dtype: KVCacheDtype) -> WeightType:
    if kv_cache_dtype is KVCacheDtype.INT8:
        return WeightType.INT8
    return WeightType.FLOAT32 if precision is Precision.FLOAT32 else WeightType.BFLOAT16


def round_up(value: int, multiple: int) -> int:
    """The least multiple of ``multiple`` that is not below ``value``."""
    return -(-value // multiple) * multiple
