"""A model's whole distributions, from the kernels that serve it: what the quality gate compares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.grammar import Matcher
from pennyweight.server.engines.local.messages import Submit
from pennyweight.server.engines.local.token_choice import TokenChoice
from pennyweight.server.errors import InvalidRequest
from pennyweight.server.types import Constraint

from .batch import ScheduledSequence
from .engine import NativeEngineCore
from .model_config import load_model_config
from .model_runner import ModelRunner
from .sequence import Sequence


class Scorer:
    """Computes with one model, by the engine's own runner and core. Raises ModelError where it can't be loaded.

    ``settings`` are the engine's; a ``max_model_len`` beyond the model's context is cut to that.
    """

    def __init__(self, path: Path, settings: EngineSettings) -> None:
        config = load_model_config(path)
        if settings.max_model_len is not None:
            limit = min(settings.max_model_len, config.max_position_embeddings)
            settings = msgspec.structs.replace(settings, max_model_len=limit)
        self.quantization = config.quantization
        self.runner = ModelRunner(path, settings, on_progress=lambda done, total: None)
        self._core = NativeEngineCore(self.runner, _NoGrammars(), settings)

    def logits(self, token_ids: list[int], first: int) -> Iterator[Tensor]:
        """What each token but the last is followed by, from position ``first`` on: float32 [R, V] on the device, in runs.

        A run is valid until the next one is asked for, and has at most ``runner.max_prompt_logprob_rows`` rows.
        """
        size = self.runner.max_prompt_logprob_rows
        sequence = Sequence(
            request_id="score",
            index=0,
            tokens=np.array(token_ids, dtype=np.int32),
            num_prompt=len(token_ids),
            max_tokens=0,
            choice=TokenChoice(prompt_logprobs=0),
        )
        blocks = self._core.blocks
        if not blocks.grow(sequence, len(token_ids)):
            raise ValueError(f"{len(token_ids)} tokens don't fit into the KV cache")
        try:
            while (at := sequence.num_computed) < len(token_ids) - 1:
                # Nothing follows the last token, so it is not computed. Up to ``first`` apart: those rows nobody wants.
                end = min(at + size, first if at < first else len(token_ids) - 1)
                logits = self.runner.prompt_logits(ScheduledSequence(sequence, end - at))
                sequence.num_computed = end
                if at >= first:
                    yield logits
        finally:
            self.runner.release(sequence)
            blocks.free(sequence)

    @torch.inference_mode()
    def logprobs(self, token_ids: list[int], first: int) -> list[float]:
        """The log-probability of each token after position ``first``, given those before it; in float64."""
        found: list[float] = []
        at = first + 1
        for logits in self.logits(token_ids, first):
            targets = torch.tensor(token_ids[at : at + len(logits)], device=logits.device)
            found += logits.double().log_softmax(dim=-1).gather(1, targets[:, None])[:, 0].tolist()
            at += len(logits)
        return found

    def generate(self, prompts: list[list[int]], max_tokens: int, stop_token_ids: frozenset[int]) -> list[list[int]]:
        """Greedy answers, batched as the engine batches them; a stop token ends one and is its last."""
        answers: dict[str, list[int]] = {str(number): [] for number in range(len(prompts))}
        for number, prompt in enumerate(prompts):
            self._core.submit(
                Submit(
                    request_id=str(number),
                    prompt=np.array(prompt, dtype="<i4").tobytes(),
                    choice=TokenChoice(stop_token_ids=stop_token_ids),
                    seeds=(0,),
                    max_tokens=max_tokens,
                    priority=0,
                    arrival=float(number),
                )
            )
        while self._core.has_work:
            for progress in self._core.step():
                answers[progress.request_id] += progress.token_ids
        return list(answers.values())


class _NoGrammars:
    """Implements Compiler for prompts that have no constraints."""

    def compile(self, constraint: Constraint) -> Matcher:
        raise InvalidRequest("answers are not constrained here", param=constraint.param)
