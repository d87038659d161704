"""``pennyweight cache``: see and purge the response cache of a running server, over its administration's port."""

from __future__ import annotations

import json
import urllib.parse
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .administration import DEFAULT_URL, Url, call_administration

cache = typer.Typer(
    name="cache",
    help="See and purge the response cache of a running server (serve --response-cache --admin-port).",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@cache.command()
def stats(
    url: Url = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object, for programs.")] = False,
) -> None:
    """What the cache did since the start, and what is in it: in memory also by model and by tenant."""
    found = call_administration(url, "GET", "/response-cache")
    if as_json:
        print(json.dumps(found))
        return
    memory, store = found["memory"], found["store"]
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_row("requests", ", ".join(f"{count} {result}" for result, count in found["requests"].items()))
    table.add_row("hits", ", ".join(f"{count} from {level}" for level, count in found["hits"].items()))
    table.add_row(
        "memory", f"{memory['answers']} answers, {memory['bytes'] / 2**20:.1f} MiB, {memory['evictions']} evicted"
    )
    for kind in ("models", "tenants"):
        for name, count in memory[kind].items():
            table.add_row("", f"{count} of {kind.removesuffix('s')} {escape(name) or '(none)'}")
    if store is not None:
        table.add_row("store", _described(store))
    Console(highlight=False).print(table)


@cache.command()
def purge(
    key: Annotated[str | None, typer.Option(help="Of one request: cache_key in the server's log.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Of one tenant, as stats names them.")] = None,
    model: Annotated[str | None, typer.Option(help="Of one model, alias or adapter.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every answer there is.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Forget answers, in memory and in the store; of several options all must hold."""
    if everything == any(one is not None for one in (key, tenant, model)):
        raise typer.BadParameter("give --key, --tenant or --model, or --all alone")
    asked = {"key": key, "tenant": tenant, "model": model, "all": "true" if everything else None}
    query = urllib.parse.urlencode({name: value for name, value in asked.items() if value is not None})
    purged = call_administration(url, "DELETE", f"/response-cache?{query}")["purged"]
    store = "" if purged["store"] is None else f", {purged['store']} in the store"
    semantic = "" if purged["semantic"] is None else f", {purged['semantic']} in the semantic cache"
    print(f"purged: {purged['memory']} in memory{store}{semantic}")


def _described(store: dict[str, object]) -> str:
    errors = store["errors"]
    told = ", ".join(f"{count} {kind}" for kind, count in errors.items()) if isinstance(errors, dict) else ""
    state = f"away: {store['reason']}" if "reason" in store else f"{store['answers']} answers"
    size = store.get("bytes")
    taken = f", {size / 2**20:.1f} MiB" if isinstance(size, int) else ""
    return escape(f"{state}{taken}, {store['written']} written, errors: {told or 'none'}")
