"""A result of `bench serve` whose times come out of the planner's own model, so that what a fit should find is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pennyweight.bench.load.lengths import Lengths
from pennyweight.bench.load.raw import samples_path, write_samples
from pennyweight.bench.load.sample import Sample
from pennyweight.bench.plan.outcome import Outcome
from pennyweight.bench.plan.served import Served
from pennyweight.bench.plan.simulation import simulate
from pennyweight.bench.plan.step_model import StepParameters, make_step_model
from pennyweight.bench.plan.workload import Workload, make_workload
from pennyweight.bench.result import Run, show

LENGTHS = Lengths("lognormal", 128, 77), Lengths("lognormal", 32, 19)


def write_sweep(
    directory: Path,
    served: Served,
    parameters: StepParameters,
    *,
    rates: tuple[float, ...] = (),
    clients: tuple[int, ...] = (),
    requests: int = 40,
    error: str | None = None,
) -> None:
    """Open loops at ``rates`` and closed ones of ``clients``; ``error`` is what each load's last request ended with."""
    model = make_step_model(served.shape, served.quantisation, served.device, parameters)
    points = []
    loads = [{"mode": "open", "rate": rate, "arrivals": "poisson"} for rate in rates]
    loads += [{"mode": "closed", "concurrency": count} for count in clients]
    for number, load in enumerate(loads):
        rate, concurrency = load.get("rate", 1.0), load.get("concurrency")
        workload = make_workload(float(rate), 1.0, *LENGTHS, requests=requests, longest=4000, seed=number)  # type: ignore[arg-type]
        outcome = simulate(workload, model, served.limits, clients=concurrency)  # type: ignore[arg-type]
        write_samples(samples_path(directory, number), _samples(workload, outcome, error))
        points.append({"load": load, "summary": {}, "complaints": []})
    run = Run("serve", {})
    show(run.result({"points": points}, versions={"server": "simulated"}), directory)


def _samples(workload: Workload, outcome: Outcome, error: str | None) -> list[Sample]:
    samples = []
    for index in range(len(workload)):
        sent, first, ended = (float(times[index]) for times in (outcome.sent, outcome.first, outcome.ended))
        tokens = int(workload.output_tokens[index])
        arrivals = tuple(np.linspace(first, ended, tokens).tolist()) if tokens > 1 else (first,)
        samples.append(
            Sample(
                index=index,
                scheduled=sent,
                sent=sent,
                first=first,
                ended=ended,
                arrivals=arrivals,
                pieces=(1,) * tokens,
                prompt_tokens=int(workload.input_tokens[index]),
                output_tokens=tokens,
                cached_tokens=0,
                status=200,
                error=error if index == len(workload) - 1 else None,
                finish_reason="length",
            )
        )
    return samples
