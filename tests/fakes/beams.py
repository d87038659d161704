"""Beam searches on an engine's core, and the same by transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from pennyweight.server.engines.local.messages import Progress, Submit
from pennyweight.server.engines.local.token_choice import TokenChoice
from pennyweight.server.engines.native.engine import NativeEngineCore
from pennyweight.server.types import BeamSearch


@dataclass(frozen=True, slots=True)
class Found:
    """One answer: its tokens with the end of sequence, and its score."""

    token_ids: list[int]
    score: float


def submit_beams(
    core: NativeEngineCore,
    name: str,
    prompt: Sequence[int],
    max_tokens: int,
    wanted: BeamSearch,
    *,
    n: int | None = None,
    ends: Sequence[int] = (),
    logprobs: int | None = None,
    hash_logits: bool = False,
    priority: int = 0,
    arrival: float = 0.0,
) -> None:
    core.submit(
        Submit(
            request_id=name,
            prompt=np.array(prompt, dtype="<i4").tobytes(),
            choice=TokenChoice(stop_token_ids=frozenset(ends), logprobs=logprobs),
            seeds=(0,) * (n or wanted.width),
            max_tokens=max_tokens,
            priority=priority,
            arrival=arrival,
            beam_search=wanted,
            hash_logits=hash_logits,
        )
    )


def run_all(core: NativeEngineCore) -> dict[str, list[Progress]]:
    """Step until nothing is left to do; what each request brought, in the order in which it came."""
    answers: dict[str, list[Progress]] = {}
    while core.has_work:
        for progress in core.step():
            if progress.token_ids:  # else it has begun
                answers.setdefault(progress.request_id, []).append(progress)
        core.check_integrity()
    return answers


def found(answers: Sequence[Progress]) -> list[Found]:
    assert [one.index for one in answers] == list(range(len(answers)))
    return [Found(one.token_ids, one.beam_score.score) for one in answers if one.beam_score is not None]


@torch.inference_mode()
def search_with_transformers(
    model: PreTrainedModel, prompt: Sequence[int], max_tokens: int, wanted: BeamSearch, *, ends: Sequence[int] = ()
) -> list[Found]:
    padding = -1  # no token: what follows an answer's end can be told from it
    result: Any = model.generate(
        torch.tensor([list(prompt)], device=model.device),
        do_sample=False,
        num_beams=wanted.width,
        num_return_sequences=wanted.width,
        max_new_tokens=max_tokens,
        length_penalty=wanted.length_penalty,
        early_stopping=wanted.early_stopping,
        eos_token_id=list(ends) or None,
        pad_token_id=padding,
        return_dict_in_generate=True,
        output_scores=True,
    )
    rows = result.sequences[:, len(prompt) :].tolist()
    scores = result.sequences_scores.tolist()
    return [Found([token for token in row if token != padding], score) for row, score in zip(rows, scores, strict=True)]
