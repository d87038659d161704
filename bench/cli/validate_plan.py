"""``pennyweight bench validate-plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def validate_plan(
    result: Annotated[
        list[Path], typer.Argument(help="Directories that `bench serve --out` wrote, of one server at several loads.")
    ],
    model: Annotated[Path, typer.Option(help="The served model's config.json, or its directory.")],
    device: Annotated[str, typer.Option(help="What it was served on, as the device book names it.")],
    quantisation: Annotated[str, typer.Option(help="How it was quantised.")] = "bfloat16",
    tp: Annotated[int, typer.Option(min=1, help="Devices that shared each layer.")] = 1,
    max_num_seqs: Annotated[int, typer.Option(min=1, help="The server's setting.")] = 64,
    max_num_batched_tokens: Annotated[
        int | None, typer.Option(min=1, help="The server's setting; by default 128 on a CPU, 2048 on a card.")
    ] = None,
    kv_tokens: Annotated[
        int | None, typer.Option(min=1, help="What the server's log says at its start (kv_cache_tokens); else planned.")
    ] = None,
    devices: Annotated[Path | None, typer.Option(help="A device book in the place of the packaged one.")] = None,
    out: Annotated[Path | None, typer.Option(help="A directory for the result.")] = None,
) -> None:
    """Measure the planner's error: fit its model to every other load of a sweep, and predict the loads between.

    A load's requests are simulated as they were sent: at the same times, or by as many clients, with the same lengths. The data
    of the result are `parameters` (fitted to one half), `predictions` (each load: measured, predicted, errors) and `errors`, the
    medians over the half that the fit didn't see. The result is invalid where these are above the planner's goals: 10 % for
    throughput, 20 % for TTFT's p50 and p99.
    """
    from pennyweight.bench.plan.served import describe_served
    from pennyweight.bench.plan.sweep import read_sweep
    from pennyweight.bench.plan.validation import make_table, validate
    from pennyweight.bench.result import Run, show

    from .plan_progress import fitting_progress

    sweep = read_sweep(result)
    served = describe_served(
        model,
        device,
        devices,
        quantisation,
        tp=tp,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        kv_tokens=kv_tokens,
        longest=sweep.longest,
    )
    run = Run("validate-plan", {"result": result, "served": served})
    with fitting_progress("fitting to every other load") as on_progress:
        validation = validate(served, sweep, on_progress)
    data = {
        "measured": [{"command": one.command, "started": one.started, "machine": one.machine} for one in sweep.results],
        "parameters": validation.parameters,
        "predictions": validation.predictions,
        "errors": validation.errors,
    }
    table = make_table(validation.predictions, validation.errors)
    complaints = (*sweep.complaints(), *validation.complaints())
    show(run.result(data, versions=sweep.last.versions, complaints=complaints), out, table)
