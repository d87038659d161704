"""One round on one configuration: start it if it is ours to start, warm it up, probe its prefill, load it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pennyweight.bench.compare.measure import BUSY
from pennyweight.bench.load.complaints import complaints
from pennyweight.bench.load.endpoint import Endpoint
from pennyweight.bench.load.mode import ClosedLoop
from pennyweight.bench.load.run import drive
from pennyweight.bench.load.sample import BadAnswer, Sample
from pennyweight.bench.load.slo import Slo
from pennyweight.bench.load.summary import Summary, summarise
from pennyweight.bench.load.view import View
from pennyweight.bench.load.worker import ClientDied
from pennyweight.bench.machine import busy_cores
from pennyweight.bench.peers.base import PeerFailed
from pennyweight.bench.peers.target import reaching

from .account import Answer, Round, prefill_share, weighted_share
from .configuration import Configuration
from .workload import Selection, Workload


class Plan(msgspec.Struct, frozen=True):
    """How each configuration is loaded: a closed loop of so many clients, with ``processes`` of their own or none.

    ``output_weight`` is how many input tokens' time an output token counts for where no prefill was probed.
    """

    concurrency: int
    processes: int
    output_weight: float
    slo: Slo | None
    seed: int


class Measured(msgspec.Struct, kw_only=True):
    """What one round on one configuration gave; ``failure`` says why where it gave nothing. Times are in seconds."""

    name: str
    round: int
    busy_cores_before: float
    seconds_to_ready: float | None = None
    samples: list[Sample] = msgspec.field(default_factory=list)
    summary: Summary | None = None
    load: Round | None = None
    complaints: list[str] = msgspec.field(default_factory=list)
    failure: str | None = None
    raw_file: str | None = None  # of the samples, beside the result


async def measure(
    configuration: Configuration, number: int, workload: Workload, selection: Selection, plan: Plan, view: View
) -> Measured:
    """Measure a configuration. One that fails is told in what is returned, so that the others are still measured."""
    found = Measured(name=configuration.name, round=number, busy_cores_before=busy_cores())
    if configuration.peer is not None and found.busy_cores_before > BUSY:
        found.complaints.append(f"other work kept {found.busy_cores_before:.1f} cores busy before it")

    def say(stage: str) -> None:
        view.say(f"round {number + 1}: {configuration.name}: {stage}")

    try:
        say("starting" if configuration.peer is not None else "looking for its model")
        async with reaching(configuration, "chat") as server:
            found.seconds_to_ready = server.seconds_to_ready
            await _load(found, server.endpoint, workload, selection, plan, view, say)
    except (PeerFailed, BadAnswer, ClientDied) as error:
        found.failure = str(error)
        say(f"failed: {error}")
    return found


async def _load(
    found: Measured,
    endpoint: Endpoint,
    workload: Workload,
    selection: Selection,
    plan: Plan,
    view: View,
    say: Callable[[str], None],
) -> None:
    mode = ClosedLoop(plan.concurrency)

    async def ask(rows: list[int], output_tokens: int | None = None) -> list[Sample]:
        load = await drive(endpoint, workload.requests(endpoint, rows, output_tokens), mode, processes=plan.processes)
        if failed := next((sample for sample in load.samples if sample.error is not None), None):
            raise BadAnswer(
                f"a request before the load failed: {failed.error}, status {failed.status}: {failed.message}"
            )
        return load.samples

    if selection.warm_up:
        say(f"warming up with {len(selection.warm_up)} requests")
        await ask(selection.warm_up)
    probes: list[Sample] = []
    if selection.probes:
        say(f"probing prefill with {len(selection.probes)} prompts")
        probes = await ask(selection.probes, 1)
    say(f"{len(selection.measured)} requests, {plan.concurrency} at once")
    load = await drive(
        endpoint,
        workload.requests(endpoint, selection.measured),
        mode,
        processes=plan.processes,
        on_progress=view.watch(mode),
        keep_text=workload.has_checks(selection.measured),
    )
    found.samples = load.samples
    if all(sample.error is not None for sample in load.samples):
        raise BadAnswer(f"every request failed; the first one: {load.samples[0].error}, {load.samples[0].message}")
    found.summary = summarise(load.samples, plan.slo, plan.seed)
    found.load = as_round(load.samples, probes, workload, selection, plan)
    found.complaints += complaints(load.samples, found.summary, load.client)


def as_round(
    samples: list[Sample], probes: list[Sample], workload: Workload, selection: Selection, plan: Plan
) -> Round:
    """A load as its cost is reckoned from."""
    slo = plan.slo or Slo()
    answers = tuple(
        Answer(
            seconds=sample.e2e,
            input_tokens=sample.prompt_tokens,
            output_tokens=sample.output_tokens,
            cached_tokens=sample.cached_tokens or 0,
            is_completed=sample.error is None,
            is_accepted=slo.is_met(sample) and workload.is_right(selection.measured[sample.index], sample.text),
        )
        for sample in samples
    )
    found = Round(_length(samples), answers, 0.0)
    if probes:
        probed = sum(sample.prompt_tokens for sample in probes)
        share = prefill_share(_length(probes), probed, found.seconds, found.input_tokens)
    else:
        share = weighted_share(found.input_tokens, found.output_tokens, plan.output_weight)
    return msgspec.structs.replace(found, prefill_share=share)


def _length(samples: list[Sample]) -> float:
    """Seconds from the first sending to the last end."""
    return max(sample.ended for sample in samples) - min(sample.sent for sample in samples)
