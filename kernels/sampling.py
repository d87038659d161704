"""Choosing tokens: batched arguments of the sampling kernels (their implementations follow in this file and kernels/cpu)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SamplingBatch:
    """One row for each of R rows of logits, already adjusted (penalties, bias, forbidden tokens).

    A temperature of 0 takes the largest logit, ties by the lower id. Otherwise the Gumbel-max of logits / temperature over
    the tokens that top-k, top-p and min-p leave, in that order, with noise from Philox4x32-10 keyed by (seed, position)
    and counted by token id, so that a row's choice depends on that row alone. ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 are off.
    ``mask`` is a bitmask [R, ceil(V / 32)] of allowed tokens for the rows where ``masked`` is true; None if there are none.
    ``num_top`` is how many alternatives to report with logprobs, -1 for no logprobs at all.
    """

    temperature: NDArray[np.float32]
    top_k: NDArray[np.int32]
    top_p: NDArray[np.float32]
    min_p: NDArray[np.float32]
    seed: NDArray[np.uint64]
    position: NDArray[np.int64]
    num_top: NDArray[np.int32]
    mask: NDArray[np.int32] | None = None
    masked: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """Chosen ids [R]; logprobs [R] of them; the most probable alternatives [R, max(num_top)].

    Logprobs are the log-softmax of the adjusted and masked logits, before temperature and truncation: of the very
    logits that were sampled. Undefined where a row's ``num_top`` is -1.
    """

    token_ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    top_ids: NDArray[np.int32]
    top_logprobs: NDArray[np.float32]
