"""How far a model's next-token distributions are from another's, position by position, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Rows that are compared at a time: their float64 copies, of a large vocabulary too, stay near the processor.
ROWS_AT_A_TIME = 4


@dataclass(frozen=True, slots=True)
class Divergence:
    """Of R positions, each array [R].

    ``kl`` is the Kullback-Leibler divergence KL(base || other) in nats; ``agrees`` whether both have the same most probable
    token; ``base_nll`` and ``other_nll`` are minus the log-probability of the token that stands in the text.
    """

    kl: Floats
    agrees: NDArray[np.bool_]
    base_nll: Floats
    other_nll: Floats


def log_softmax(logits: NDArray[np.float32]) -> Floats:
    """Natural log-probabilities of float32 logits [R, V], in float64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide


def compare(base: NDArray[np.float32], other: NDArray[np.float32], targets: NDArray[np.int64]) -> Divergence:
    """Compare logits [R, V] of two models for the same positions, whose next tokens are ``targets`` [R].

    Equal logits give a divergence of exactly 0.
    """
    parts = [
        _compare(base[at : at + ROWS_AT_A_TIME], other[at : at + ROWS_AT_A_TIME], targets[at : at + ROWS_AT_A_TIME])
        for at in range(0, len(targets), ROWS_AT_A_TIME)
    ]
    return joined(parts)


def joined(parts: list[Divergence]) -> Divergence:
    """The positions of several, in order."""
    return Divergence(
        np.concatenate([part.kl for part in parts]),
        np.concatenate([part.agrees for part in parts]),
        np.concatenate([part.base_nll for part in parts]),
        np.concatenate([part.other_nll for part in parts]),
    )


def _compare(base: NDArray[np.float32], other: NDArray[np.float32], targets: NDArray[np.int64]) -> Divergence:
    of_base, of_other = log_softmax(base), log_softmax(other)
    rows = np.arange(len(targets))
    kl = (np.exp(of_base) * (of_base - of_other)).sum(axis=-1)
    return Divergence(
        np.maximum(kl, 0.0),  # it never is negative: what rounding makes of an almost equal pair
        base.argmax(axis=-1) == other.argmax(axis=-1),
        -of_base[rows, targets],
        -of_other[rows, targets],
    )
