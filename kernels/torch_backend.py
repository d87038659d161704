"""Drives operations whose values are tensors; on CUDA it replays decode steps as graphs, one for each padded size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .backend import Forward
from .geometry import Geometry, KVCache
from .low_rank import LowRank
from .ops import KVCacheDtype, Precision
from .step import Step
from .tensor_ops import TensorOps
from .torch_ops import MIN_CONTEXT, TorchOps, next_power_of_two

# Records what a function does on the device, and gives what does it again: the same result, in the same memory.
Record = Callable[[Callable[[], Tensor]], Callable[[], Tensor]]

# A graph pads every sequence to the longest context. Beyond so many tokens in all, padding costs more than launches.
MAX_GRAPH_TOKENS = 1 << 18


class TensorBackend:
    """Implements Backend with the operations given. Decode steps are recorded by ``record``, if there is one, and replayed."""

    def __init__(
        self,
        ops: TensorOps,
        *,
        kv_cache_dtype: KVCacheDtype = KVCacheDtype.AUTO,
        record: Record | None = None,
    ) -> None:
        self.ops = ops
        self.device = ops.device
        self.kv_cache_dtype = kv_cache_dtype
        self._record = record
        self._forward: Forward | None = None
        self._graphs: dict[tuple[int, int], _DecodeGraph] = {}

    def allocate(self, geometry: Geometry) -> None:
        self._geometry = geometry
        dtype = torch.int8 if self.kv_cache_dtype is KVCacheDtype.INT8 else self.ops.compute
        self.cache = KVCache(geometry, dtype, self.device)
        self.ops.bind(geometry, self.cache)

    def capture(self, forward: Forward) -> None:
        self._forward = forward

    def place_adapter(self, slot: int, adapter: Sequence[LowRank | None]) -> None:
        self.ops.place_adapter(slot, adapter)

    def copy_blocks(self, sources: Sequence[int], destinations: Sequence[int]) -> None:
        self.cache.copy_blocks(sources, destinations)

    @torch.inference_mode()
    def run(self, step: Step) -> Tensor:
        assert self._forward is not None, "capture() comes before run()"
        if (graph := self._graph_for(step)) is not None:
            return graph.replay(step)
        self.ops.begin(step)
        logits: Tensor = self._forward(self.ops)
        return logits.float() if self.ops.wide is torch.float32 else logits

    @property
    def progress(self) -> int:
        return self.ops.products

    def describe(self) -> dict[str, str]:
        found = {**self.ops.describe(), "torch": str(torch.__version__), "graphs": str(self._record is not None)}
        if self.device.type == "cuda":
            cuda = str(torch.version.cuda)
            return found | {"device": torch.cuda.get_device_name(self.device), "cuda": cuda}
        # What PyTorch's own kernels add on a CPU depends on both.
        return found | {
            "device": f"{self.device.type} {torch.backends.cpu.get_cpu_capability()}",
            "threads": str(torch.get_num_threads()),
        }

    def variance(self, *, adapters: bool = False) -> str:
        return self.ops.variance(adapters=adapters)

    def _graph_for(self, step: Step) -> _DecodeGraph | None:
        """The graph for the next powers of two of a decode step's sequences and context; None for other steps.

        None also where a token has an adapter: those steps run eagerly.
        """
        if self._record is None or step.adapters is not None:
            return None
        if not step.num_tokens == step.num_seqs == step.num_logit_rows:
            return None
        geometry = self._geometry
        seqs = min(next_power_of_two(step.num_seqs), geometry.max_seqs)
        context = min(max(next_power_of_two(step.max_context), MIN_CONTEXT), geometry.max_model_len)
        if seqs * context > MAX_GRAPH_TOKENS:
            return None
        if (seqs, context) not in self._graphs:
            assert self._forward is not None
            self._graphs[seqs, context] = _DecodeGraph(
                self.ops, self._forward, geometry, self.cache, self._record, seqs, context
            )
        return self._graphs[seqs, context]


class TorchBackend(TensorBackend):
    """With TorchOps; ``dtype`` is theirs."""

    def __init__(
        self,
        precision: Precision,
        device: torch.device,
        *,
        dtype: torch.dtype | None = None,
        kv_cache_dtype: KVCacheDtype = KVCacheDtype.AUTO,
        record: Record | None = None,
    ) -> None:
        super().__init__(TorchOps(precision, device, dtype=dtype), kv_cache_dtype=kv_cache_dtype, record=record)


class CudaGraphs:
    """Implements Record by CUDA graphs, which share one pool of memory."""

    def __init__(self) -> None:
        self._pool: object | None = None

    def __call__(self, function: Callable[[], Tensor]) -> Callable[[], Tensor]:
        # What libraries set up at a first call must not be recorded.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                function()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):  # type: ignore[arg-type]
            result = function()
        self._pool = graph.pool()

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay


class _DecodeGraph:
    """A decode step of ``seqs`` sequences with at most ``context`` tokens each, recorded once.

    Rows beyond the step's own repeat its first: they write the same key and value to the same slot again.
    """

    def __init__(
        self,
        ops: TensorOps,
        forward: Forward,
        geometry: Geometry,
        cache: KVCache,
        record: Record,
        seqs: int,
        context: int,
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
            block_tables=zeros(seqs, -(-context // geometry.block_size)),
            logit_rows=rows[:seqs],
            max_context=context,
        )

        def decode() -> Tensor:
            ops.begin(self._step, padded=True)
            logits: Tensor = forward(ops)
            return logits

        # Recording runs the forward pass over slot 0 of block 0, which may be in use: put it back afterwards.
        both = (cache.keys, cache.values)
        saved = [layers[:, 0].clone() for layers in both]
        self._replay = record(decode)
        for layers, block in zip(both, saved, strict=True):
            layers[:, 0] = block

    def replay(self, step: Step) -> Tensor:
        """The logits [S, V] of a step with at most this graph's sequences and context."""
        count = step.num_seqs
        for name in ("token_ids", "positions", "slots", "context_lens"):
            mine, theirs = getattr(self._step, name), getattr(step, name)
            mine[:count] = theirs
            mine[count:] = theirs[0]
        tables = step.block_tables[:, : self._step.block_tables.shape[1]]
        self._step.block_tables[:count, : tables.shape[1]] = tables
        self._step.block_tables[count:, : tables.shape[1]] = tables[0]
        return self._replay()[:count]
