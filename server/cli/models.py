"""``pennyweight models``: see and manage the models of a running server, over its administration's port."""

from __future__ import annotations

import json
import urllib.parse
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .administration import DEFAULT_URL, Url, call_administration

models = typer.Typer(
    name="models",
    help="See and manage the models of a running server (serve --admin-port).",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@models.command("list")
def list_models(
    url: Url = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object, for programs.")] = False,
) -> None:
    """Every model: its state, what it takes, who uses it, and the aliases that mean it now."""
    found = call_administration(url, "GET", "/models")
    if as_json:
        print(json.dumps(found))
        return
    table = Table("model", "state", "engine", "memory", "requests", "aliases", "", box=None, padding=(0, 2, 0, 0))
    for one in found["models"]:
        memory = f"{one['bytes'] / 2**20:.0f} MiB" if one.get("bytes") else ""
        requests = f"{one['users']} (+{one['waiting']} waiting)" if "users" in one else ""
        pinned = "pinned " if one.get("pinned") else ""
        table.add_row(
            one["name"],
            one["state"],
            one.get("engine", ""),
            memory,
            requests,
            ", ".join(one["aliases"]),
            pinned + one["detail"],
        )
    Console(highlight=False).print(table)


@models.command()
def load(model: str, url: Url = DEFAULT_URL) -> None:
    """Load a model now, instead of with its first request; returns when it takes requests."""
    print(f"{model} is {call_administration(url, 'POST', f'/models/{_quoted(model)}/load')['state']}")


@models.command()
def sleep(
    model: str,
    level: Annotated[
        int, typer.Option(min=1, max=2, help="1 keeps the weights in the host's memory, 2 the process alone.")
    ] = 1,
    url: Url = DEFAULT_URL,
) -> None:
    """Put a model to sleep once the requests under way have ended: it takes less memory, and wakes faster than it loads."""
    print(
        f"{model} is {call_administration(url, 'POST', f'/models/{_quoted(model)}/sleep', {'level': level})['state']}"
    )


@models.command()
def unload(model: str, url: Url = DEFAULT_URL) -> None:
    """Drop a model from memory once the requests under way have ended; the next request loads it again."""
    print(f"{model} is {call_administration(url, 'POST', f'/models/{_quoted(model)}/unload')['state']}")


@models.command()
def promote(alias: str, version: str, url: Url = DEFAULT_URL) -> None:
    """Have an alias mean another model from now on. Requests under way finish on the one that they began on."""
    found = call_administration(url, "POST", f"/aliases/{_quoted(alias)}", {"model": version})
    print(f"{alias} is {found['model']} now, and was {found['before']}")


@models.command()
def rollback(alias: str, url: Url = DEFAULT_URL) -> None:
    """Have an alias mean again what it meant before its last promotion."""
    print(f"{alias} is {call_administration(url, 'POST', f'/aliases/{_quoted(alias)}/rollback')['model']} again")


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")
