"""Loads a model and computes batches with it: the one place where the scheduler's world meets the kernels'."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from pennyweight.kernels.backend import Backend
from pennyweight.kernels.dispatch import select_backend
from pennyweight.kernels.geometry import Geometry
from pennyweight.kernels.hashing import LogitsHasher
from pennyweight.kernels.low_rank import LowRank
from pennyweight.kernels.ops import KVCacheDtype, Precision
from pennyweight.server.config import EngineSettings
from pennyweight.server.errors import ModelError
from pennyweight.server.types import Adapter

from .adapter_loader import load_adapter
from .batch import Batch, PositionLogprobs, ScheduledSequence, StepResult
from .capacity import plan_capacity, step_tokens
from .checkpoint import Checkpoint, read_format
from .cost import ModelCost, model_cost
from .families.registry import FAMILIES
from .loader import Weights, open_weights
from .machine import available_memory
from .model_config import ModelConfig, load_model_config, rope_tables
from .projections import model_projections
from .sampler import Sampler, prompt_logprobs
from .sequence import Sequence
from .step_builder import StepBuilder, num_prompt_rows

# Rows of logits for prompt tokens in one step; each costs the head a row and a log-softmax over the vocabulary.
MAX_PROMPT_LOGPROB_ROWS = 64


class ModelRunner:
    """One model on one device. Not thread-safe; made and used by the engine's step loop.

    ``on_progress(done, total)`` is told of the bytes of weights loaded. Raises ModelError where the model, or what the
    settings ask of it, can't be had. ``weights`` are taken instead of opening those at ``path``. Sets torch's number of threads for the whole process: it is the engine's own.
    """

    def __init__(
        self,
        path: Path,
        settings: EngineSettings,
        *,
        on_progress: Callable[[int, int], None],
        weights: Weights | None = None,
    ) -> None:
        self._config = config = load_model_config(path)
        self.device = resolve_device(settings.device)
        if self.device.type == "cuda" and self.device.index is not None:
            torch.cuda.set_device(self.device)  # graphs are recorded on the current one
        self.precision = resolve_precision(settings.dtype)
        self.vocab_size = config.vocab_size
        self.block_size = settings.block_size
        self.max_prompt_logprob_rows = MAX_PROMPT_LOGPROB_ROWS
        threads = settings.threads or len(os.sched_getaffinity(0))
        torch.set_num_threads(threads)
        kv_cache_dtype = resolve_kv_cache_dtype(settings.kv_cache_dtype)
        self._backend = select_backend(
            self.precision,
            self.device,
            threads,
            settings.enforce_eager,
            kv_cache_dtype,
            own=settings.kernels == "auto",
        )
        with (
            ThreadPoolExecutor(1, thread_name_prefix="digest") as beside,
            open_weights(path) if weights is None else weights as weights,
        ):
            digest = beside.submit(weights.hash)
            checkpoint = Checkpoint(weights, on_progress, read_format(config) or weights.own_format())
            model = FAMILIES[config.family](config, self._backend.ops, checkpoint)
            checkpoint.close()
            self._weights_hash = digest.result()
        self.cost: ModelCost = model_cost(
            config,
            weight_bytes=self._backend.ops.weight_bytes,
            bytes_per_embedding=4 if self.precision is Precision.FLOAT32 else 2,
            kv_bytes=_kv_bytes(config, self._backend),
        )
        geometry = _plan_geometry(config, settings, self._backend)
        self.max_model_len = geometry.max_model_len
        self.num_blocks = geometry.num_blocks
        self.max_step_tokens = geometry.max_tokens
        self._max_logit_rows = geometry.max_logit_rows
        try:
            self._backend.allocate(geometry)
        except ValueError as error:
            raise ModelError(f"the kernels for {self.device} can't run this model: {error}") from error
        self._backend.capture(model.forward)
        self._free_rows = list(reversed(range(settings.max_num_seqs)))
        self._projections = list(model_projections(config))
        self._max_lora_rank = settings.max_lora_rank
        self._builder = StepBuilder(geometry, self.device)
        self._sampler = Sampler(settings.max_num_seqs, config.vocab_size, self.device)
        self._hasher = LogitsHasher(config.vocab_size, self.device)

    def fingerprint(self) -> dict[str, str]:
        """Everything that the numerics depend on: equal fingerprints give equal logits, for equal batches at the least."""
        # What varies with the batch varies with the chunks that a prompt may be computed in.
        chunks = {"max_num_batched_tokens": str(self.max_step_tokens)} if self.variance() else {}
        return {
            "weights": self._weights_hash,
            "config": hashlib.blake2b(repr(self._config).encode(), digest_size=8).hexdigest(),
            "precision": str(self.precision),
            "kv_cache_dtype": str(self._backend.kv_cache_dtype),
            "torch": str(torch.__version__),
            **chunks,
            **self.kernels,
        }

    @property
    def progress(self) -> int:
        """As in ``Backend``."""
        return self._backend.progress

    def variance(self, *, adapters: bool = False) -> str:
        """As in ``Backend``."""
        return self._backend.variance(adapters=adapters)

    @property
    def kernels(self) -> dict[str, str]:
        """Which kernels compute and where, as they call themselves, and all else that their numerics depend on."""
        return self._backend.describe()

    @property
    def kernels_name(self) -> str:
        """The same for people: such as "cpu avx512"."""
        return " ".join(self.kernels[name] for name in ("kernels", "isa") if name in self.kernels)

    def execute(self, batch: Batch) -> StepResult:
        """Compute a batch and choose a token for each of its sequences that has reached its last token.

        Sequences that are new get a batch row, which is theirs until ``release``. Their progress is left as it is.
        """
        for item in batch.items:
            if item.sequence.row < 0:
                self._enter(item.sequence)
        result = StepResult(np.empty(0, dtype=np.int32))
        chosen = []
        for first, items in self._portions(batch.items):
            planned = self._builder.build(items)
            logits = self._backend.run(planned.step)
            for index, row, count in planned.prompt_spans:
                sequence = items[index].sequence
                targets = sequence.tokens[sequence.num_computed + 1 : sequence.num_computed + 1 + count]
                num_top = sequence.choice.prompt_logprobs or 0
                found: list[PositionLogprobs] = prompt_logprobs(logits[row : row + count], targets, num_top)
                result.prompt_logprobs[first + index] = found
            if planned.sampling:
                rows = planned.sampling_rows
                wanted = logits if rows is None else logits[torch.from_numpy(rows).to(self.device)]
                self._hash_rows(wanted, planned.sampling, result)
                token_ids, logprobs = self._sampler.choose(wanted, planned.sampling)
                chosen.append(token_ids)
                result.logprobs += logprobs
        if chosen:
            result.token_ids = chosen[0] if len(chosen) == 1 else np.concatenate(chosen)
        return result

    def prompt_logits(self, item: ScheduledSequence) -> torch.Tensor:
        """Compute an item alone: the logits that follow each of its tokens, float32 [num_new, V], valid until the next step.

        The item's sequence asks for prompt logprobs, and the item has at most ``max_prompt_logprob_rows`` tokens, not the
        sequence's last. Its progress is left as it is.
        """
        if item.sequence.row < 0:
            self._enter(item.sequence)
        planned = self._builder.build((item,))
        logits = self._backend.run(planned.step)
        ((_, row, count),) = planned.prompt_spans
        return logits[row : row + count]

    def release(self, sequence: Sequence) -> None:
        """Take a sequence's batch row back, if it has one."""
        if sequence.row >= 0:
            self._free_rows.append(sequence.row)
            sequence.row = -1

    def copy_blocks(self, copies: list[tuple[int, int]]) -> None:
        """Copy keys and values of whole blocks (from, to), between steps."""
        self._backend.copy_blocks([source for source, _ in copies], [destination for _, destination in copies])

    def load_adapter(self, adapter: Adapter) -> list[LowRank | None]:
        """Read an adapter, in any thread. Raises ModelError for one that doesn't fit the model."""
        return load_adapter(adapter, self._projections, max_rank=self._max_lora_rank)

    def place_adapter(self, slot: int, adapter: list[LowRank | None]) -> None:
        """Make it the adapter of a slot, which sequences name. Raises ModelError where the device has no room for it."""
        try:
            self._backend.place_adapter(slot, adapter)
        except torch.OutOfMemoryError as error:
            raise ModelError(f"the memory of {self.device} has no room for it") from error

    def _hash_rows(self, logits: torch.Tensor, sequences: list[Sequence], result: StepResult) -> None:
        """Note the hashes that sequences ask for; their rows of logits are the model's own still."""
        rows = [index for index, one in enumerate(sequences) if one.hash_logits]
        if rows:
            hashes = self._hasher.rows(logits, np.array(rows, dtype=np.int64)).tolist()
            first = len(result.logprobs)
            result.row_hashes.update((first + row, one) for row, one in zip(rows, hashes, strict=True))

    def _enter(self, sequence: Sequence) -> None:
        sequence.row = self._free_rows.pop()
        self._builder.enter(sequence.row)
        self._sampler.enter(sequence)

    def _portions(self, items: tuple[ScheduledSequence, ...]) -> Iterator[tuple[int, tuple[ScheduledSequence, ...]]]:
        """The items in runs whose rows of logits fit, each with its place; one run unless many prompts want logprobs."""
        first = rows = 0
        for index, item in enumerate(items):
            wanted = num_prompt_rows(item) + item.samples
            if rows + wanted > self._max_logit_rows:
                yield first, items[first:index]
                first, rows = index, 0
            rows += wanted
        yield first, items[first:]


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is a card, else the CPU. Raises ModelError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"no device is called {name!r}; try auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise ModelError(f"the native engine runs on cpu and cuda, not on {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"device {name!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA devices")
    return device


def resolve_precision(dtype: str) -> Precision:
    """``auto`` is bfloat16, on every machine and for every checkpoint, so that each start makes the same choice."""
    if dtype == "auto":
        return Precision.BFLOAT16
    try:
        return Precision(dtype)
    except ValueError as error:
        raise ModelError(f"no dtype is called {dtype!r}; there are auto, {', '.join(Precision)}") from error


def resolve_kv_cache_dtype(name: str) -> KVCacheDtype:
    """Raises ModelError for a name that is none."""
    try:
        return KVCacheDtype(name)
    except ValueError as error:
        raise ModelError(f"no kv_cache_dtype is called {name!r}; there are {', '.join(KVCacheDtype)}") from error


def _kv_bytes(config: ModelConfig, backend: Backend) -> int:
    """Of a token's keys and values in all layers."""
    per_head = backend.kv_cache_dtype.bytes_per_head(backend.ops.precision, config.head_dim)
    return 2 * config.num_layers * config.num_kv_heads * per_head


def _free_cuda_memory(device: torch.device) -> int:
    torch.cuda.empty_cache()  # what loading has left to the allocator is free too
    return torch.cuda.mem_get_info(device)[0]


def _plan_geometry(config: ModelConfig, settings: EngineSettings, backend: Backend) -> Geometry:
    is_cuda = backend.device.type == "cuda"
    capacity = plan_capacity(
        settings,
        model_len=config.max_position_embeddings,
        bytes_per_block=_kv_bytes(config, backend) * settings.block_size,
        free_memory=_free_cuda_memory(backend.device) if is_cuda else available_memory(),
        is_cuda=is_cuda,
    )
    rope_cos, rope_sin = rope_tables(config, capacity.max_model_len)
    return Geometry(
        num_layers=config.num_layers,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_heads=config.num_heads,
        num_kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        vocab_size=config.vocab_size,
        max_model_len=capacity.max_model_len,
        rope_cos=rope_cos,
        rope_sin=rope_sin,
        block_size=settings.block_size,
        num_blocks=capacity.num_blocks,
        max_tokens=step_tokens(settings, is_cuda=is_cuda),
        max_seqs=settings.max_num_seqs,
        max_logit_rows=settings.max_num_seqs + MAX_PROMPT_LOGPROB_ROWS,
        qk_norm_eps=config.rms_norm_eps,
    )
