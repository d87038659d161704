"""The cheapest ways to keep an SLO, over devices, their number, tensor parallelism, quantisation, batch and shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from .candidate import Candidate, Service, make_service, percentiles
from .demand import Demand, Shares
from .device import STEP_TOKENS
from .economics import Economics, work_out
from .memory import DoesNotFit
from .model_shape import ModelShape
from .offer import Offer
from .quantisation import Quantisation
from .slo import accepted
from .step_model import StepParameters


@dataclass(frozen=True)
class Space:
    """What is tried: every combination whose tensor parallelism divides the model's heads."""

    offers: Sequence[Offer]
    tps: Sequence[int]
    quantisations: Sequence[Quantisation]
    max_num_seqs: Sequence[int]
    max_num_batched_tokens: int | None  # None: the default of each kind of device
    shares: Sequence[Shares]
    most_devices: int

    def candidates(self, shape: ModelShape) -> list[Candidate]:
        """The cheapest to rent first, so that the dear ones need not be looked at for long; batches from the smallest."""
        found = [
            Candidate(offer, tp, quantisation, batch, max(self._step_tokens(offer), batch), shares)
            for offer, tp, quantisation, shares, batch in product(
                self.offers, self.tps, self.quantisations, self.shares, sorted(self.max_num_seqs)
            )
            if shape.heads % tp == 0
            and (shape.kv_heads % tp == 0 or tp % shape.kv_heads == 0)
            and tp <= self.most_devices
        ]
        return sorted(found, key=lambda one: one.offer.dollars(one.tp))

    def _step_tokens(self, offer: Offer) -> int:
        return self.max_num_batched_tokens or STEP_TOKENS[offer.device.kind]


@dataclass(frozen=True)
class Configuration:
    """A candidate with as many replicas as it takes. ``busy`` is the share of the time with a step under way, at the peak."""

    candidate: Candidate
    replicas: int
    kv_tokens: int
    economics: Economics
    percentiles: dict[str, float]
    busy: float
    peak_running: int
    peak_kv_use: float
    preemptions: int

    @property
    def devices(self) -> int:
        return self.replicas * self.candidate.tp


@dataclass(frozen=True)
class Rejected:
    """A candidate that no number of replicas helps, and why."""

    candidate: Candidate
    reason: str
    missing: bool  # the model didn't fit


@dataclass(frozen=True)
class Found:
    """``configurations`` from the cheapest on; ``passed_over`` candidates were dearer than all of these whatever they did."""

    configurations: tuple[Configuration, ...]
    rejected: tuple[Rejected, ...]
    passed_over: int


def search(
    space: Space,
    demand: Demand,
    shape: ModelShape,
    parameters_of: Callable[[Candidate], StepParameters],
    *,
    keep: int = 10,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Found:
    """The ``keep`` configurations with the cheapest accepted answers, each with the fewest replicas that keep the SLO."""
    candidates = space.candidates(shape)
    kept: list[Configuration] = []
    rejected: list[Rejected] = []
    passed_over = 0
    # A batch that never filled means that a larger one would change nothing.
    sufficient: set[tuple[str, int, str, Shares]] = set()
    for done, candidate in enumerate(candidates):
        on_progress(done, len(candidates))
        alike = candidate.offer.name, candidate.tp, candidate.quantisation.name, candidate.shares
        if alike in sufficient:
            passed_over += 1
            continue
        try:
            service = make_service(candidate, demand, shape, parameters_of(candidate))
        except DoesNotFit as error:
            rejected.append(Rejected(candidate, str(error), missing=True))
            continue
        if (objective := service.broken_when_idle()) is not None:
            rejected.append(Rejected(candidate, f"breaks {objective} even for requests alone on it", missing=False))
            continue
        most = _most_replicas(candidate, space, demand, kept, keep)
        if most == 0:
            passed_over += 1
            continue
        replicas = service.fewest_replicas(most)
        if replicas is None:
            if most == space.most_devices // candidate.tp:
                rejected.append(Rejected(candidate, f"{most * candidate.tp} devices are too few", missing=False))
            else:
                passed_over += 1
            continue
        configuration = _configuration(candidate, replicas, service)
        if configuration.peak_running < candidate.max_num_seqs:
            sufficient.add(alike)
        kept = sorted([*kept, configuration], key=_rank)[:keep]
    on_progress(len(candidates), len(candidates))
    return Found(tuple(kept), tuple(rejected), passed_over)


def _most_replicas(candidate: Candidate, space: Space, demand: Demand, kept: Sequence[Configuration], keep: int) -> int:
    """How many replicas may be rented before the candidate is dearer than all that are kept, if all its answers were good."""
    most = space.most_devices // candidate.tp
    if len(kept) < keep:
        return most
    limit = _rank(kept[-1])[0]
    while most and (work_out(candidate, most, demand, kept_slo=1.0).per_accepted or 0.0) > limit:
        most -= 1
    return most


def _configuration(candidate: Candidate, replicas: int, service: Service) -> Configuration:
    outcome = service.outcome(replicas)
    kept_slo = float(accepted(service.demand.slo, outcome).mean())
    return Configuration(
        candidate=candidate,
        replicas=replicas,
        kv_tokens=service.limits.kv_tokens,
        economics=work_out(candidate, replicas, service.demand, kept_slo),
        percentiles=percentiles(outcome, service.demand.slo),
        busy=outcome.busy,
        peak_running=outcome.peak_running,
        peak_kv_use=outcome.peak_kv_use,
        preemptions=outcome.preemptions,
    )


def _rank(configuration: Configuration) -> tuple[float, float]:
    economics = configuration.economics
    per_accepted = float("inf") if economics.per_accepted is None else economics.per_accepted
    return per_accepted, economics.dollars_per_hour
