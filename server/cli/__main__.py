"""The command ``pennyweight``. Each subcommand is a file beside this one; what they need is imported when they run."""

from __future__ import annotations

import importlib.metadata
import sys
from typing import Annotated

import typer

from pennyweight.server.errors import ConfigError, ModelError

from .cache import cache
from .chat import chat
from .doctor import doctor
from .models import models
from .plugins import CommandsAndPlugins
from .prices import prices
from .pull import pull
from .record import record
from .route import route
from .serve import explain_config, serve

EPILOG = """
Serve the default model, and talk to it from another terminal: [bold]pennyweight serve[/] and [bold]pennyweight chat[/].

Serve a model of your own in int8, to two keys: [bold]pennyweight serve ~/models/qwen2.5-7b --dtype int8 --api-key one --api-key two[/].

Manage the models of a server that has several: [bold]pennyweight models list[/] (see [bold]serve --admin-port[/]).

See where a server would send a prompt, and why: [bold]pennyweight route explain "What is 7 times 8?"[/].

Look at what a server has recorded: [bold]pennyweight record list recordings/[/].

Measure a server, and what its tokens cost: [bold]pennyweight bench --help[/].

See what GPUs and hosted models cost by their lists: [bold]pennyweight prices list --match h100[/].

See what a configuration amounts to before it runs: [bold]pennyweight explain-config --config server.yaml[/].
"""

app = typer.Typer(
    name="pennyweight",
    cls=CommandsAndPlugins,
    help="A self-hosted inference server that speaks OpenAI's API.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
app.command()(serve)
app.command()(pull)
app.command()(chat)
app.command("explain-config")(explain_config)
app.command()(doctor)
app.add_typer(models)
app.add_typer(cache)
app.add_typer(prices)
app.add_typer(route)
app.add_typer(record)


@app.command()
def version() -> None:
    """Show the version."""
    print(f"pennyweight {importlib.metadata.version('pennyweight')}")


def _show_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def _common(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="The version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; an error that has a remedy is one line on stderr and exit code 1."""
    try:
        app()
    except (ConfigError, ModelError) as error:
        print(f"pennyweight: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
