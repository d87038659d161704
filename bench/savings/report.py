"""What a run's streams come to: each step's cost at each repeat share, and what must not be quoted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import msgspec

from pennyweight.bench.load.complaints import complaints as load_complaints
from pennyweight.bench.load.slo import Slo

from .account import Answered, StepCost, dollars, step_costs
from .measure import Hits, Measured, Streamed
from .sameness import rouge_l, words
from .step import STEPS, Prices
from .stream import Workload

Key = tuple[str, int, float]


class Waited(msgspec.Struct, frozen=True):
    """What a step's requests waited and took, over its rounds: medians of the rounds' percentiles, in seconds, and CPU seconds of
    server and engines for an accepted answer."""

    step: str
    repeat_share: float
    ttft_p50: float | None
    e2e_p50: float | None
    e2e_p99: float | None
    cpu_seconds_per_accepted: float | None


class Report(msgspec.Struct, frozen=True):
    """All of it. ``hits`` are of each round and step with a response cache."""

    costs: list[StepCost]
    waited: list[Waited]
    hits: list[Hits]
    complaints: tuple[str, ...]

    def data(self) -> dict[str, Any]:
        """For the result."""
        return {"costs": self.costs, "waited": self.waited, "hits": self.hits}


def make_report(measured: Sequence[Measured], workload: Workload, prices: Prices, slo: Slo | None, seed: int) -> Report:
    """The report on what was measured. A round in which a step failed is left out for all steps, so that they are of the same requests."""
    streams = {(one.step, one.round, one.repeat_share): one for each in measured for one in each.streams}
    answered = {key: _answered(key, streams, workload, prices, slo or Slo()) for key in streams}
    costs, waited = [], []
    for share in sorted({share for _, _, share in streams}):
        rounds = [
            number
            for number in sorted({number for _, number, _ in streams})
            if all((step.name, number, share) in streams for step in STEPS)
        ]
        if not rounds:
            continue
        of_steps = {step.name: [answered[step.name, number, share] for number in rounds] for step in STEPS}
        costs += step_costs(of_steps, share, seed)
        for step in STEPS:
            found = [streams[step.name, number, share] for number in rounds]
            accepted = sum(one.is_accepted for answers in of_steps[step.name] for one in answers)
            waited.append(_waited(found, accepted))
    hits = [one.hits for one in measured if one.hits is not None]
    return Report(costs, waited, hits, (*_complaints(measured), *_one_sided(costs)))


def _answered(
    key: Key, streams: Mapping[Key, Streamed], workload: Workload, prices: Prices, slo: Slo
) -> list[Answered]:
    _, number, share = key
    one = streams[key]
    dear = streams.get((STEPS[0].name, number, share))
    texts = {sample.index: sample.text for sample in dear.samples if sample.error is None} if dear is not None else {}
    found = []
    for sample in one.samples:
        row = one.stream.rows[sample.index]
        is_completed = sample.error is None
        same = likeness = None
        if is_completed and (text := texts.get(sample.index)) is not None:
            same = words(text) == words(sample.text or "")
            likeness = rouge_l(text, sample.text or "")
        found.append(
            Answered(
                row=row,
                model=sample.model,
                cache=sample.cache,
                dollars=dollars(sample, prices),
                is_completed=is_completed,
                is_accepted=slo.is_met(sample) and workload.is_right(row, sample.text),
                is_same=same,
                likeness=likeness,
            )
        )
    return found


def _waited(rounds: Sequence[Streamed], accepted: int) -> Waited:
    def middle(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return median(known) if known else None

    return Waited(
        step=rounds[0].step,
        repeat_share=rounds[0].repeat_share,
        ttft_p50=middle([one.summary.ttft.p50 if one.summary.ttft else None for one in rounds]),
        e2e_p50=middle([one.summary.e2e.p50 if one.summary.e2e else None for one in rounds]),
        e2e_p99=middle([one.summary.e2e.p99 if one.summary.e2e else None for one in rounds]),
        cpu_seconds_per_accepted=sum(one.cpu_seconds for one in rounds) / accepted if accepted else None,
    )


def _one_sided(costs: Sequence[StepCost]) -> Iterator[str]:
    """Too few prompts to have one of each tier say nothing of the router's share, and their intervals don't tell."""
    routed = {step.name for step in STEPS if step.has_router}
    for one in costs:
        if one.step in routed and one.routed_dear_share in (0.0, 1.0):
            tier = "cheap" if one.routed_dear_share == 0 else "dear"
            yield (
                f"{one.step}, repeats {one.repeat_share:.0%}: every prompt went to the {tier} tier, which is not the share that was "
                "asked for; take more --requests or --rounds"
            )


def _complaints(measured: Sequence[Measured]) -> Iterator[str]:
    for one in measured:
        if one.failure is not None:
            yield f"{one.step}, round {one.round + 1} failed: {one.failure}"
        for each in one.streams:
            for complaint in load_complaints(each.samples, each.summary, each.client):
                yield f"{one.step}, round {one.round + 1}, repeats {each.repeat_share:.0%}: {complaint}"
