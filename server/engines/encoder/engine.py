"""The encoder's core: requests go in, forward passes are made while inputs wait, vectors come out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import torch

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.messages import Embed, Embedded, Stats
from pennyweight.server.engines.native.checkpoint import Checkpoint
from pennyweight.server.engines.native.loader import open_weights
from pennyweight.server.engines.native.model_runner import resolve_device
from pennyweight.server.errors import ModelError

from .batcher import Batcher, Input
from .bert import Bert
from .encoder_config import load_encoder_config
from .pooling import Vector, finish, pool
from .sentence_head import load_sentence_head

# Tokens in a forward pass, padding counted. On a CPU more make it no quicker for each, and everybody waits for the whole.
CPU_PASS_TOKENS = 2048
CUDA_PASS_TOKENS = 32768


@dataclass(slots=True)
class _Request:
    """A request and the vectors that it has so far, by place."""

    dimensions: int | None
    size: int
    vectors: dict[int, bytes] = field(default_factory=dict)


class EncoderCore:
    """One model on one device. Not thread-safe. ``on_progress(done, total)`` is told of the bytes of weights loaded.

    Raises ModelError where the model, or what the settings ask of it, can't be had. Sets torch's number of threads for the whole
    process: it is the engine's own.
    """

    def __init__(self, path: Path, settings: EngineSettings, *, on_progress: Callable[[int, int], None]) -> None:
        self.config = load_encoder_config(path)
        self._head = load_sentence_head(path)
        self.max_model_len = _max_model_len(settings, self.config.max_position_embeddings, self._head.max_length)
        if settings.dtype not in ("auto", "float32"):
            raise ModelError(f"dtype is {settings.dtype}: the encoder computes in float32 (say float32 or auto)")
        self.device = resolve_device(settings.device)
        torch.set_num_threads(settings.threads or len(os.sched_getaffinity(0)))
        with open_weights(path) as weights:
            self._weights_hash = weights.hash()
            checkpoint = Checkpoint(weights, on_progress)
            self._model = Bert(self.config, checkpoint, self.device)
            checkpoint.close()
        by_default = CUDA_PASS_TOKENS if self.device.type == "cuda" else CPU_PASS_TOKENS
        self._batcher = Batcher(
            max_inputs=settings.max_num_seqs, max_tokens=settings.max_num_batched_tokens or by_default
        )
        self._requests: dict[str, _Request] = {}

    def fingerprint(self) -> dict[str, str]:
        """Everything that the numerics depend on."""
        described = f"{msgspec.structs.astuple(self.config)} {self._head}"
        return {
            "weights": self._weights_hash,
            "config": hashlib.blake2b(described.encode(), digest_size=8).hexdigest(),
            "device": self.device.type,
            "torch": str(torch.__version__),
        }

    @property
    def has_work(self) -> bool:
        return bool(self._batcher)

    def stats(self) -> Stats:
        """Between two passes: whoever has no vector yet waits, the others run."""
        running = sum(bool(request.vectors) for request in self._requests.values())
        return Stats(running=running, waiting=len(self._requests) - running)

    def submit(self, message: Embed) -> None:
        """Queue a request."""
        self._requests[message.request_id] = _Request(message.dimensions, len(message.inputs))
        self._batcher.add(message.request_id, [np.frombuffer(one, dtype="<i4") for one in message.inputs])

    def abort(self, request_id: str) -> None:
        """Drop what of a request has not been computed yet, if anything."""
        self._batcher.drop(request_id)
        self._requests.pop(request_id, None)

    def step(self) -> list[Embedded]:
        """Make one forward pass, if there is one to make, and return the requests that it has made whole."""
        if not self._batcher:
            return []
        inputs = self._batcher.next_pass()
        whole = []
        for one, vector in zip(inputs, self._compute(inputs), strict=True):
            request = self._requests[one.request_id]
            made = finish(vector, dimensions=request.dimensions, normalize=self._head.normalize)
            request.vectors[one.place] = made.astype("<f4", copy=False).tobytes()
            if len(request.vectors) == request.size:
                del self._requests[one.request_id]
                vectors = tuple(request.vectors[place] for place in range(request.size))
                whole.append(Embedded(one.request_id, vectors))
        return whole

    @torch.inference_mode()
    def _compute(self, inputs: list[Input]) -> list[Vector]:
        lengths = torch.tensor([len(one) for one in inputs])
        token_ids = torch.zeros(len(inputs), int(lengths.max()), dtype=torch.int64)
        for row, one in zip(token_ids, inputs, strict=True):
            row[: len(one)] = torch.from_numpy(one.token_ids.astype(np.int64))
        mask = (torch.arange(token_ids.shape[1]) < lengths[:, None]).to(self.device)
        pooled = pool(self._model(token_ids.to(self.device), mask), mask, self._head.pooling)
        return list(pooled.cpu().numpy())


def _max_model_len(settings: EngineSettings, max_positions: int, max_length: int | None) -> int:
    """The longest input: as set, else as the model's makers say, and never more than it has positions."""
    asked = settings.max_model_len
    if asked is not None and asked > max_positions:
        raise ModelError(f"max_model_len is {asked}, but the model has {max_positions} positions")
    return min(asked or max_length or max_positions, max_positions)
