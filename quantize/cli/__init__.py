"""The command ``pennyweight quantize``."""

from __future__ import annotations

import typer

from pennyweight.bench.cli.quality import evaluate

quantize = typer.Typer(
    name="quantize",
    help="Make a model smaller, and judge what that costs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
)
quantize.command("eval")(evaluate)


@quantize.callback()
def _group() -> None:
    """Makes a group of the single command that there is."""
