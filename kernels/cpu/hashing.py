"""Hashes of rows of logits by the compiled kernels."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .library import HashArguments, Library


def hash_rows(
    library: Library,
    logits: Tensor,
    rows: NDArray[np.int64],
    low: NDArray[np.uint32],
    high: NDArray[np.uint32],
) -> NDArray[np.uint64]:
    """The hashes of the given rows of float32 logits [R, V]; ``low`` and ``high`` are the halves of the keys [V]."""
    rows = np.ascontiguousarray(rows, np.int64)
    sums = np.zeros(len(rows), np.uint64)
    arguments = HashArguments(
        logits.data_ptr(),
        logits.stride(0),
        rows.ctypes.data,
        len(rows),
        logits.shape[1],
        low.ctypes.data,
        high.ctypes.data,
        sums.ctypes.data,
    )
    library.c.pw_hash_rows(library.largest_team, ctypes.byref(arguments))
    return sums
