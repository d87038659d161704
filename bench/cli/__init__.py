"""The command ``pennyweight bench``. Each benchmark is a file beside this one; what it needs is imported when it runs."""

from __future__ import annotations

import typer

from .compare import compare
from .cost import cost
from .decode import decode
from .determinism import determinism
from .frontend import frontend
from .gpu import gpu
from .hostile import hostile
from .kernels import kernels
from .overload import overload
from .recording import recording
from .report import report
from .savings import savings
from .serve import serve
from .suite import suite
from .validate_plan import validate_plan

EPILOG = """
Every benchmark prints a table, then its result as one line of JSON, and writes that and its raw data to [bold]--out[/].
"""

bench = typer.Typer(
    name="bench",
    help="Measure servers: their speed, what their tokens cost, and what that depends on.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
)
bench.command()(serve)
bench.command()(suite)
bench.command()(compare)
bench.command()(cost)
bench.command()(savings)
bench.command()(hostile)
bench.command()(overload)
bench.command()(determinism)
bench.command()(recording)
bench.command()(decode)
bench.command()(kernels)
bench.command()(report)
bench.command()(validate_plan)
bench.command()(gpu)
bench.command()(frontend)
