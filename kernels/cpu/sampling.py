"""Sampling by the compiled kernels."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .library import Library, SampleArguments


def sample_rows(
    library: Library,
    logits: Tensor,
    *,
    temperature: NDArray[np.float32],
    top_k: NDArray[np.int32],
    top_p: NDArray[np.float32],
    min_p: NDArray[np.float32],
    seed: NDArray[np.uint64],
    position: NDArray[np.int64],
    num_top: NDArray[np.int32],
    mask: NDArray[np.int32] | None,
    masked: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Chosen ids [R], their logprobs [R], top ids and top logprobs [R, max(num_top)] for float32 logits [R, V].

    The meaning of the arguments is SamplingBatch's. Logits that the mask forbids become -inf in place.
    """
    rows, vocab_size = logits.shape
    width = max(0, int(num_top.max(initial=0)))
    token_ids = np.empty(rows, np.int32)
    logprobs = np.zeros(rows, np.float32)
    top_ids = np.zeros((rows, width), np.int32)
    top_logprobs = np.zeros((rows, width), np.float32)
    columns: list[NDArray[Any]] = [
        np.ascontiguousarray(temperature, np.float32),
        np.ascontiguousarray(top_k, np.int32),
        np.ascontiguousarray(top_p, np.float32),
        np.ascontiguousarray(min_p, np.float32),
        np.ascontiguousarray(seed, np.uint64),
        np.ascontiguousarray(position, np.int64),
        np.ascontiguousarray(num_top, np.int32),
    ]
    has_mask = mask is not None and masked is not None
    bits = np.ascontiguousarray(mask, np.int32) if has_mask else None
    where = np.ascontiguousarray(masked, np.uint8) if has_mask else None
    arguments = SampleArguments(
        logits.data_ptr(),
        logits.stride(0),
        rows,
        vocab_size,
        *(column.ctypes.data for column in columns),
        None if bits is None else bits.ctypes.data,
        None if where is None else where.ctypes.data,
        None,
        0 if bits is None else bits.shape[1],
        token_ids.ctypes.data,
        logprobs.ctypes.data,
        top_ids.ctypes.data,
        top_logprobs.ctypes.data,
        width,
    )
    library.c.pw_sample(library.largest_team, ctypes.byref(arguments))
    return token_ids, logprobs, top_ids, top_logprobs


def rows_logprobs(
    library: Library, logits: Tensor, token_ids: NDArray[np.int32], num_top: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Logprobs [R] of given tokens, one for each row of float32 logits [R, V]; the most probable ids and their logprobs [R, num_top].

    By the very instructions that tell those of chosen tokens.
    """
    rows, vocab_size = logits.shape
    given = np.ascontiguousarray(token_ids, np.int32)
    wanted = np.full(rows, num_top, np.int32)
    chosen = np.empty(rows, np.int32)
    logprobs = np.zeros(rows, np.float32)
    top_ids = np.zeros((rows, num_top), np.int32)
    top_logprobs = np.zeros((rows, num_top), np.float32)
    arguments = SampleArguments(
        logits=logits.data_ptr(),
        logits_stride=logits.stride(0),
        rows=rows,
        vocab_size=vocab_size,
        num_top=wanted.ctypes.data,
        given=given.ctypes.data,
        token_ids=chosen.ctypes.data,
        logprobs=logprobs.ctypes.data,
        top_ids=top_ids.ctypes.data,
        top_logprobs=top_logprobs.ctypes.data,
        top_stride=num_top,
    )
    library.c.pw_sample(library.largest_team, ctypes.byref(arguments))
    return logprobs, top_ids, top_logprobs
