"""``pennyweight bench determinism``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

PROMPT = "Tell me in a few sentences what an inference server does, and why it batches the requests that it gets."
WORDS = (
    "the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one you were "
    "all her she there would their we him been has when who will no more if out so up said what its about than into them can only"
)


def determinism(
    model: Annotated[
        list[str] | None, typer.Option(help="What serve takes; may be repeated. The default model by default.")
    ] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="May be repeated. bfloat16 and int8 by default.")] = None,
    device: Annotated[str, typer.Option(help="As serve takes it: auto, cpu, cuda or cuda:N.")] = "auto",
    completions: Annotated[int, typer.Option(min=2, help="Of one prompt, on the first way of serving it.")] = 1000,
    matrix: Annotated[int, typer.Option(min=0, help="On each of the others; 0: none.")] = 100,
    without: Annotated[int, typer.Option(min=0, help="By PyTorch's kernels, mode off; 0: none.")] = 200,
    tokens: Annotated[int, typer.Option(min=2, help="Of each.")] = 100,
    concurrency: Annotated[int, typer.Option(min=1, help="Of them at a time, at most.")] = 24,
    background: Annotated[int, typer.Option(min=0, help="Clients with other work at a time, at most.")] = 8,
    threads: Annotated[list[int] | None, typer.Option(min=1, help="May be repeated; 2 and 1 by default.")] = None,
    chunk: Annotated[
        list[int] | None, typer.Option(min=16, help="Most tokens of a step; may be repeated. 512 and 64 by default.")
    ] = None,
    kv_cache: Annotated[
        list[str] | None,
        typer.Option(help="May be repeated; by default 512MiB, and 24MiB, with which sequences are preempted."),
    ] = None,
    cost_rounds: Annotated[int, typer.Option(min=0, help="For what the mode costs; 0: that isn't measured.")] = 5,
    streams: Annotated[int, typer.Option(min=1, help="At once, for what it costs.")] = 32,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="A directory for the result.")] = None,
) -> None:
    """Ask the same over and over while other work comes and goes, and compare the bits of all logits.

    \b
        pennyweight bench determinism --out result
        pennyweight bench determinism --completions 50 --matrix 10 --without 0 --cost-rounds 0

    For each model and precision a server is started in each of several ways, which must not matter to mode bitwise: threads,
    the size of a step (and so the chunks of a prefill), prefix cache on and off, a KV cache so small that sequences are
    preempted, and once more as it was. On each the prompt is completed many times at random moments beside other requests
    of random length. Every answer says a hash of all logits that its tokens were chosen from, in a chain. There is no
    response cache, and the engine's own count of what it generated must be no less than what was asked for.

    Then what the mode costs: one stream, and many at once, in turns on the same server with bitwise and off, and on a server
    with PyTorch's kernels. The exit code is 1 when bitwise gave different bits.
    """
    settings = dict(locals())
    import msgspec
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from pennyweight.bench.compare.rounds import until_terminated
    from pennyweight.bench.determinism.account import Costs, make_tables, rows_of, wholes_of
    from pennyweight.bench.determinism.cost import CostPlan, cost_of, measure_cost
    from pennyweight.bench.determinism.measure import Measured, Plan, measure
    from pennyweight.bench.determinism.variant import Axes, Variant, one_at_a_time
    from pennyweight.bench.peers.base import PeerFailed
    from pennyweight.bench.result import Run, show

    run = Run("determinism", settings)
    axes = Axes()
    axes = Axes(
        threads=tuple(threads or axes.threads),
        chunk=tuple(chunk or axes.chunk),
        kv_cache=tuple(kv_cache or axes.kv_cache),
    )
    plan = Plan(
        prompt=PROMPT,
        tokens=tokens,
        concurrency=concurrency,
        background=background,
        words=WORDS.split(),
        mode="bitwise",
        seed=seed,
    )
    bases = [
        Variant(model=str(Path(one).absolute()) if Path(one).exists() else one, dtype=kind, device=device)
        for one in model or ["smollm2-135m-instruct"]
        for kind in dtype or ["bfloat16", "int8"]
    ]
    measured: list[Measured] = []
    costs: list[Costs] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

    async def run_all(progress: Progress) -> None:
        async def one(variant: Variant, count: int, mode: str) -> None:
            label = f"{variant.dtype}, {variant.kernels}, {mode}: {variant.label}"
            task = progress.add_task(label, total=count)
            asked = msgspec.structs.replace(plan, mode=mode)
            found = await measure(variant, count, asked, lambda done: progress.update(task, completed=done))
            measured.append(found)
            progress.console.print(f"{label}: {len({one.logits for one in found.digests})} different of {count}")

        for base in bases:
            first, *others = one_at_a_time(base, axes)
            await one(first, completions, "bitwise")
            for variant in others if matrix else ():
                await one(variant, matrix, "bitwise")
            if without:
                await one(msgspec.structs.replace(first, kernels="torch"), without, "off")
            if cost_rounds:
                wanted = CostPlan(prompt=PROMPT, streams=streams, tokens=64, alone_tokens=64, rounds=cost_rounds)
                speeds = await measure_cost(first, wanted, progress.console.print)
                costs.append(
                    Costs(model=base.model, dtype=base.dtype, streams=streams, speeds=speeds, cost=cost_of(speeds))
                )

    complaints: tuple[str, ...] = ()
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            asyncio.run(until_terminated(run_all(progress)))
    except PeerFailed as error:
        # What was measured before is kept.
        complaints = (str(error),)
    rows, wholes = rows_of(measured), wholes_of(measured)
    result = run.result({"rows": rows, "wholes": wholes, "costs": costs}, versions={}, complaints=complaints)
    show(result, out, *make_tables(rows, wholes, costs))
    parted = [one for one in wholes if one.mode == "bitwise" and one.found.unique_logits > 1]
    for one in parted:
        typer.echo(f"NOT BITWISE: {one.dtype}: {one.found.unique_logits} different chains of logits", err=True)
    if parted or complaints:
        sys.exit(1)
