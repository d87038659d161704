"""The command ``pennyweight quantize``. What it and its subcommands need is imported when they run."""

from __future__ import annotations

import typer
from typer.core import TyperGroup

from pennyweight.bench.cli.quality import evaluate

from .run import run

EPILOG = """
Quantise the default model to int8: [bold]pennyweight quantize smollm2-135m-instruct --scheme w8a8 --out smollm2-w8a8[/].

Judge what that cost: [bold]pennyweight quantize eval smollm2-135m-instruct smollm2-w8a8[/].

All options of the first: [bold]pennyweight quantize run --help[/].
"""
DEFAULT = "run"


class RunByDefault(TyperGroup):
    """``pennyweight quantize MODEL ...`` is ``pennyweight quantize run MODEL ...``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


quantize = typer.Typer(
    name="quantize",
    cls=RunByDefault,
    help="Make a model's weights smaller, and judge what that costs.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
)
quantize.command(DEFAULT)(run)
quantize.command("eval")(evaluate)
