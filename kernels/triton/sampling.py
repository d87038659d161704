"""Sampling on a card: one launch, one copy there and one back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pennyweight.kernels.sampling import Sampled, SamplingBatch

from .arithmetic import EXACT
from .sampling_kernels import choose

# Logits that a program reads at once.
_BLOCK = 1024


def sample_rows(logits: Tensor, batch: SamplingBatch) -> Sampled:
    """``sampling.sample`` of float32 logits [R, V] whose mask has been applied.

    Tokens whose weights make up top-p to the last bit of a float32 sum may fall out differently from the reference's.
    """
    rows, size = logits.shape
    assert logits.stride(1) == 1
    width = max(0, int(batch.num_top.max(initial=0)))
    columns = torch.from_numpy(_columns(batch)).to(logits.device)
    found = torch.zeros(rows * (2 + 2 * width), dtype=torch.int32, device=logits.device)
    token_ids, logprobs, top_ids, top_logprobs = torch.split(found, [rows, rows, rows * width, rows * width])
    choose[(rows,)](
        logits,
        logits.stride(0),
        size,
        columns,
        token_ids,
        logprobs.view(torch.float32),
        top_ids,
        top_logprobs.view(torch.float32),
        width,
        BLOCK=_BLOCK,
        num_warps=8,
        **EXACT,
    )
    host = found.cpu().numpy()
    ids, ones, tops, top_ones = np.split(host, np.cumsum([rows, rows, rows * width]))
    return Sampled(
        ids, ones.view(np.float32), tops.reshape(rows, width), top_ones.view(np.float32).reshape(rows, width)
    )


def _columns(batch: SamplingBatch) -> NDArray[np.int64]:
    """The arguments [7, R] as ``choose`` reads them: floats by their bits."""
    floats = (batch.temperature, batch.top_p, batch.min_p)
    return np.stack(
        [
            *(np.ascontiguousarray(one, np.float32).view(np.int32).astype(np.int64) for one in floats),
            batch.top_k.astype(np.int64),
            np.ascontiguousarray(batch.seed, np.uint64).view(np.int64),
            batch.position.astype(np.int64),
            batch.num_top.astype(np.int64),
        ]
    )
