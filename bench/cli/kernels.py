"""``pennyweight bench kernels``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pennyweight.bench.kernels.grid import KINDS, SHAPES, grid_of


def kernels(
    shape: Annotated[
        str, typer.Option(help="Whose sizes: smollm2-135m, llama-3.1-8b, or tiny to see whether it works.")
    ] = "smollm2-135m",
    rows: Annotated[str, typer.Option(help="M, the rows of a product, separated by commas.")] = "1,8,32,128",
    kind: Annotated[str, typer.Option(help="Kinds of weights, separated by commas.")] = ",".join(KINDS),
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; by default all usable cores.")] = None,
    out: Annotated[Path | None, typer.Option(help="A directory for the result.")] = None,
) -> None:
    """Time each kernel over a grid of sizes, against the machine's ceilings (roofline), PyTorch's own and the reference.

    Weights and keys lie in more memory than a cache holds, as a model's do. Ceilings are measured first: multiplications over
    registers, and a sum that reads memory. A share of 100 % is a kernel that waits for nothing but the lower of the two.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from pennyweight.bench.kernels.measure import Timing, measure
    from pennyweight.bench.kernels.table import make_table, size_of
    from pennyweight.bench.machine import busy_cores, usable_cores
    from pennyweight.bench.result import Run, show

    kinds = tuple(kind.split(","))
    if shape not in SHAPES or not set(kinds) <= set(KINDS):
        raise typer.BadParameter(f"shapes are {', '.join(SHAPES)}, kinds {', '.join(KINDS)}")
    try:
        counts = tuple(int(one) for one in rows.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"rows are whole numbers, separated by commas, and not {rows!r}") from error
    if min(counts) < 1:
        raise typer.BadParameter("a product has at least one row")
    grid = grid_of(shape, counts, kinds)
    count = threads or usable_cores()
    run = Run("kernels", {"shape": shape, "rows": counts, "kinds": kinds, "device": device, "threads": count})
    busy = busy_cores()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring the machine's ceilings", total=None)

        def on_timing(timing: Timing) -> None:
            progress.update(task, advance=1, description=f"{timing.kernel} by {timing.by}, {size_of(timing)}")

        ceilings, measured = measure(grid.request(device, count), on_timing)
    data = {"ceilings": ceilings, "kernels": measured}
    complaints = (f"{busy:.1f} cores were busy before it began",) if busy > 0.25 else ()
    show(run.result(data, versions={}, complaints=complaints), out, make_table(measured, ceilings))
