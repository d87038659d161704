"""What is asked of a plan: the traffic, what it must keep, and what of it never reaches the engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pennyweight.server.ledger.price_book import ModelPrice

from .prefix_cache import with_cached_prefixes
from .slo import Objective
from .workload import Workload


@dataclass(frozen=True)
class Shares:
    """Shares of the traffic, 0 to 1. ``prefix`` is of each input's tokens, None where the trace's own blocks tell.

    ``response_cache`` is of the requests: they are answered from the response cache and cost no engine anything. ``route`` is of
    the rest: they are sent to a hosted model.
    """

    prefix: float | None = None
    response_cache: float = 0.0
    route: float = 0.0


@dataclass(frozen=True)
class Demand:
    """The workload at its peak rate, the SLO, and the hosted model that a routed request is sent to.

    ``rates`` are the rates over a day or longer relative to the peak; (1,) where they never change.
    """

    workload: Workload
    slo: tuple[Objective, ...]
    routed_to: ModelPrice | None = None
    rates: Sequence[float] = (1.0,)
    seed: int = 0

    @property
    def mean_input(self) -> float:
        return float(self.workload.input_tokens.mean())

    @property
    def mean_output(self) -> float:
        return float(self.workload.output_tokens.mean())

    @property
    def tokens_per_request(self) -> float:
        return self.mean_input + self.mean_output

    def for_engines(self, shares: Shares, block_size: int) -> Workload:
        """The requests that are left for the engines, at their times."""
        left = self.workload
        if shares.prefix is not None:
            left = left.with_prefix_share(shares.prefix, block_size)
        kept = (1 - shares.response_cache) * (1 - shares.route)
        if kept == 1:
            return left
        return left.part(np.random.default_rng(self.seed).random(len(left)) < kept)


def stream_of_replica(workload: Workload, replica: int, replicas: int, kv_tokens: int) -> Workload:
    """What one of several replicas gets when requests go to them in turn, with what its own prefix cache knows."""
    return with_cached_prefixes(workload.part(slice(replica, None, replicas)), kv_tokens)
