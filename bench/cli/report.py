"""``pennyweight bench report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="What a benchmark wrote by --out, or a suite's directory.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="A directory for report.html and report.md.", show_default="DIR, or the current one for several"
        ),
    ] = None,
) -> None:
    """Make one page with plots (report.html) and a Markdown summary (report.md) of results.

        pennyweight bench report results/monday results/tuesday --out results

    The page needs nothing beside itself and can be sent to others; the raw data is linked. Runs of the same benchmark in
    several directories are compared over time. The path of the page is the last line printed.
    """
    from pennyweight.bench.report.stored import NoResult
    from pennyweight.bench.report.svg import NoMatplotlib
    from pennyweight.bench.report.write import write_report

    place = out or (directories[0] if len(directories) == 1 else Path())
    try:
        print(write_report(directories, place))
    except (NoResult, NoMatplotlib) as error:
        raise typer.BadParameter(str(error)) from error
    except OSError as error:
        raise typer.BadParameter(f"the report can't be written: {error}") from error
