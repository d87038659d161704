"""``pennyweight models``: see and manage the models of a running server, over its administration's port."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pennyweight.server.config_file import ADMIN_URL_VARIABLE, API_KEY_VARIABLE
from pennyweight.server.errors import ConfigError

# A model may take minutes to load.
TIMEOUT_SECONDS = 3600.0

models = typer.Typer(
    name="models",
    help="See and manage the models of a running server (serve --admin-port).",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
_URL = Annotated[
    str, typer.Option("--url", envvar=ADMIN_URL_VARIABLE, help="Where the server's administration listens.")
]
_DEFAULT_URL = "http://127.0.0.1:8001"


@models.command("list")
def list_models(
    url: _URL = _DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object, for programs.")] = False,
) -> None:
    """Every model: its state, what it takes, who uses it, and the aliases that mean it now."""
    found = _call(url, "GET", "/models")
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
def load(model: str, url: _URL = _DEFAULT_URL) -> None:
    """Load a model now, instead of with its first request; returns when it takes requests."""
    print(f"{model} is {_call(url, 'POST', f'/models/{_quoted(model)}/load')['state']}")


@models.command()
def sleep(
    model: str,
    level: Annotated[
        int, typer.Option(min=1, max=2, help="1 keeps the weights in the host's memory, 2 the process alone.")
    ] = 1,
    url: _URL = _DEFAULT_URL,
) -> None:
    """Put a model to sleep once the requests under way have ended: it takes less memory, and wakes faster than it loads."""
    print(f"{model} is {_call(url, 'POST', f'/models/{_quoted(model)}/sleep', {'level': level})['state']}")


@models.command()
def unload(model: str, url: _URL = _DEFAULT_URL) -> None:
    """Drop a model from memory once the requests under way have ended; the next request loads it again."""
    print(f"{model} is {_call(url, 'POST', f'/models/{_quoted(model)}/unload')['state']}")


@models.command()
def promote(alias: str, version: str, url: _URL = _DEFAULT_URL) -> None:
    """Have an alias mean another model from now on. Requests under way finish on the one that they began on."""
    found = _call(url, "POST", f"/aliases/{_quoted(alias)}", {"model": version})
    print(f"{alias} is {found['model']} now, and was {found['before']}")


@models.command()
def rollback(alias: str, url: _URL = _DEFAULT_URL) -> None:
    """Have an alias mean again what it meant before its last promotion."""
    print(f"{alias} is {_call(url, 'POST', f'/aliases/{_quoted(alias)}/rollback')['model']} again")


def _call(url: str, method: str, path: str, body: Any = None) -> Any:
    """What the administration answers. Raises ConfigError with the server's reason, or with what to check."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(API_KEY_VARIABLE):
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url.rstrip("/") + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise ConfigError(_reason(error)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ConfigError(
            f"no administration answers at {url} ({reason}): was the server started with --admin-port?"
        ) from None


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the administration answered {error.code}: is this its port?"


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")
