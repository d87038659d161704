"""The requests that are planned for: when they arrive, how long they are, what of them is cached already."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight.bench.load.lengths import Lengths
from pennyweight.bench.load.mode import gamma_intervals


@dataclass(frozen=True)
class Workload:
    """Requests in the order of arrival: int64 tokens and float64 seconds, [requests] each.

    ``at`` begins at 0 or later. ``cached_tokens`` of the input need no computing. ``blocks`` are the ids of the prefix blocks
    that each request's input consists of, ``block_tokens`` long each, where the trace tells them.
    """

    at: NDArray[np.float64]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    cached_tokens: NDArray[np.int64]
    blocks: Sequence[Sequence[int]] | None = None
    block_tokens: int = 0

    def __len__(self) -> int:
        return len(self.at)

    @property
    def rate(self) -> float:
        """Requests per second, from the first arrival to the last."""
        span = float(self.at[-1] - self.at[0])
        return (len(self) - 1) / span if span > 0 else float("inf")

    @property
    def longest(self) -> int:
        """Tokens of the longest request, input and output."""
        return int((self.input_tokens + self.output_tokens).max())

    def at_rate(self, rate: float) -> Workload:
        """The same requests, closer together or further apart."""
        return dataclasses.replace(self, at=(self.at - self.at[0]) * (self.rate / rate))

    def part(self, chosen: slice | NDArray[np.bool_]) -> Workload:
        """Some of the requests, at the times at which they were."""
        rows: list[int] = np.arange(len(self))[chosen].tolist()
        return Workload(
            self.at[chosen],
            self.input_tokens[chosen],
            self.output_tokens[chosen],
            self.cached_tokens[chosen],
            None if self.blocks is None else [self.blocks[row] for row in rows],
            self.block_tokens,
        )

    def with_lengths(self, *, inputs: float = 1.0, outputs: float = 1.0) -> Workload:
        """The same requests with their lengths times a factor each, at least 1 token."""
        return dataclasses.replace(
            self,
            input_tokens=np.maximum(1, np.rint(self.input_tokens * inputs)).astype(np.int64),
            output_tokens=np.maximum(1, np.rint(self.output_tokens * outputs)).astype(np.int64),
            cached_tokens=np.floor(self.cached_tokens * inputs).astype(np.int64),
        )

    def with_prefix_share(self, share: float, block_size: int) -> Workload:
        """The same requests, each with this share of its input in the prefix cache, as whole blocks and never all of it."""
        blocks = np.floor(np.minimum(self.input_tokens * share, self.input_tokens - 1) / block_size)
        return dataclasses.replace(self, cached_tokens=(blocks * block_size).astype(np.int64), blocks=None)


def make_workload(
    rate: float, cv: float, inputs: Lengths, outputs: Lengths, *, requests: int, longest: int, seed: int
) -> Workload:
    """Gamma arrivals (``cv`` 1 is Poisson, 0 is constant) of independent lengths, clipped to ``longest`` tokens in all."""
    generator = np.random.default_rng(seed)
    gaps = gamma_intervals(generator, cv, requests) / rate
    output_tokens = np.minimum(np.array(outputs.draw(requests, generator), dtype=np.int64), longest - 1)
    input_tokens = np.minimum(np.array(inputs.draw(requests, generator), dtype=np.int64), longest - output_tokens)
    return Workload(np.cumsum(gaps) - gaps[0], input_tokens, output_tokens, np.zeros(requests, dtype=np.int64))
