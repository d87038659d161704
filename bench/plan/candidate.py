"""One way to serve: what is rented, how the model is quantised, cut and batched; and what requests would meet with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .demand import Demand, Shares, stream_of_replica
from .memory import MemoryPlan, plan_memory
from .model_shape import ModelShape
from .offer import Offer
from .outcome import Outcome, pooled
from .quantisation import Quantisation
from .simulation import EngineLimits, simulate
from .slo import Objective, first_broken
from .step_model import StepModel, StepParameters, make_step_model
from .workload import Workload

BLOCK_SIZE = 16
# Replicas that get their requests in turn are alike: as many are simulated as have so many requests, and stand for the rest.
ENOUGH_REQUESTS = 1000
# The first requests find engines that are still empty.
WARM_UP = 0.1
# Few enough to be quick, at such a rate that none meets another.
IDLE_REQUESTS = 100
IDLE_GAP_SECONDS = 3600.0


@dataclass(frozen=True)
class Candidate:
    """``tp`` devices make a replica; how many replicas there are is found by the search."""

    offer: Offer
    tp: int
    quantisation: Quantisation
    max_num_seqs: int
    max_num_batched_tokens: int
    shares: Shares

    def memory(self, shape: ModelShape, longest: int) -> MemoryPlan:
        """Raises DoesNotFit."""
        return plan_memory(
            shape,
            self.quantisation,
            self.offer.device,
            tp=self.tp,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            longest=longest,
        )

    def step_model(self, shape: ModelShape, parameters: StepParameters) -> StepModel:
        return make_step_model(shape, self.quantisation, self.offer.device, parameters, self.tp)

    def limits(self, kv_tokens: int) -> EngineLimits:
        return EngineLimits(self.max_num_seqs, self.max_num_batched_tokens, kv_tokens, BLOCK_SIZE)


@dataclass(frozen=True)
class Service:
    """A candidate that fits, ready to be simulated at any number of replicas and any rate."""

    demand: Demand
    engine_workload: Workload
    model: StepModel
    limits: EngineLimits

    def outcome(self, replicas: int, factor: float = 1.0) -> Outcome:
        """What requests meet with at ``factor`` times the rate."""
        workload = self.engine_workload
        if factor != 1.0:
            workload = workload.at_rate(workload.rate * factor)
        needed = -(-ENOUGH_REQUESTS * replicas // len(workload))
        streams = (
            stream_of_replica(workload, replica, replicas, self.limits.kv_tokens)
            for replica in range(min(replicas, needed, len(workload)))
        )
        return pooled([simulate(stream, self.model, self.limits).after(WARM_UP) for stream in streams])

    def broken_when_idle(self) -> Objective | None:
        """The objective that even requests which never meet another break: more replicas are no help against it."""
        few = self.engine_workload.part(slice(0, IDLE_REQUESTS))
        few = few.at_rate(1 / IDLE_GAP_SECONDS)
        stream = stream_of_replica(few, 0, 1, self.limits.kv_tokens)
        return first_broken(self.demand.slo, simulate(stream, self.model, self.limits))

    def is_good(self, replicas: int, factor: float = 1.0) -> bool:
        return first_broken(self.demand.slo, self.outcome(replicas, factor)) is None

    def fewest_replicas(self, most: int) -> int | None:
        """The fewest replicas that keep the SLO, None where ``most`` are too few."""
        if not self.is_good(most):
            return None
        low, high = 0, 1  # low is too few
        while high < most and not self.is_good(high):
            low, high = high, min(2 * high, most)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.is_good(middle) else (middle, high)
        return high

    def headroom(self, replicas: int, *, most: float = 16.0, precision: float = 0.02) -> float:
        """By what factor the rate can grow until an objective breaks, at most ``most``; below 1 where one is broken already."""
        low, high = (1.0, 2.0) if self.is_good(replicas) else (0.0, 1.0)
        while high < most and low > 0 and self.is_good(replicas, high):
            low, high = high, high * 2
        if high >= most and self.is_good(replicas, most):
            return most
        while high - low > precision * max(high, 0.1):
            middle = (low + high) / 2
            low, high = (middle, high) if self.is_good(replicas, middle) else (low, middle)
        return low


def make_service(candidate: Candidate, demand: Demand, shape: ModelShape, parameters: StepParameters) -> Service:
    """Raises DoesNotFit."""
    workload = demand.for_engines(candidate.shares, BLOCK_SIZE)
    memory = candidate.memory(shape, workload.longest)
    return Service(demand, workload, candidate.step_model(shape, parameters), candidate.limits(memory.kv_tokens))


def percentiles(outcome: Outcome, slo: Sequence[Objective]) -> dict[str, float]:
    """What a plan says of an outcome: medians and p99s in seconds, and each objective's own percentile, by its name."""
    found = {
        f"{metric}_p{percent}": outcome.percentile(metric, percent)
        for metric in ("ttft", "tpot", "itl", "e2e")
        for percent in (50, 99)
    }
    found |= {f"{one.metric}_p{one.percent:g}": outcome.percentile(one.metric, one.percent) for one in slo}
    return {name: value for name, value in found.items() if np.isfinite(value)}
