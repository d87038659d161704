"""``pennyweight serve``, and ``pennyweight explain-config``, which shows what it would do."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from pennyweight.server.config import ModelSettings, UpstreamSettings
from pennyweight.server.config_file import LoadedSettings
from pennyweight.server.config_models import ALIASES, MODELS
from pennyweight.server.config_rules import DEFAULT_SOURCE

from .flags import with_settings

SECRETS = frozenset({"http.api_keys"})
# A URL, which may have a password in it.
STORE = "response_cache.store"


@with_settings
def serve(loaded: LoadedSettings) -> None:
    """Serve a model over OpenAI's API until SIGTERM or Ctrl-C; a second one ends at once what still runs."""
    from pennyweight.server import app

    raise typer.Exit(app.serve(loaded.settings))


@with_settings
def explain_config(
    loaded: LoadedSettings,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object, for programs.")] = False,
) -> None:
    """Show the way that a request would take, and every setting with what has set it. Takes the flags of serve."""
    from pennyweight.server.cache.open_cache import shown_store
    from pennyweight.server.pipeline import describe_pipeline

    rows = [
        (f"{section}.{name}", value, loaded.sources.get(f"{section}.{name}", DEFAULT_SOURCE))
        for section, settings in msgspec.to_builtins(loaded.settings).items()
        if section not in (MODELS, ALIASES)
        for name, value in settings.items()
    ]
    rows += _model_rows(loaded)
    rows = [(name, f"{len(value)} hidden" if name in SECRETS else value, source) for name, value, source in rows]
    rows = [(name, shown_store(value) if name == STORE and value else value, source) for name, value, source in rows]
    way = describe_pipeline(loaded.settings)
    if as_json:
        found = {name: {"value": value, "source": source} for name, value, source in rows}
        print(json.dumps({"pipeline": way, "settings": found}))
        return
    console = Console(highlight=False)
    console.print("[bold]The way of a request[/]")
    for number, line in enumerate(way, start=1):
        console.print(f"  {number}. {line}", markup=False)
    table = Table("setting", "value", "set by", title="Settings", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name, value, source in rows:
        text = "" if value is None else ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        table.add_row(name, text, source, style="dim" if source == DEFAULT_SOURCE else "")
    console.print(table)


def _model_rows(loaded: LoadedSettings) -> list[tuple[str, object, str]]:
    """What each of several models has that the section ``engine`` hasn't, and what aliases mean."""
    base = msgspec.to_builtins(loaded.settings.engine)
    models = [
        (f"{MODELS}.{name}.{setting}", value, loaded.sources[f"{MODELS}.{name}"])
        for name, model in loaded.settings.models.items()
        for setting, value in (_shown(model) | {"pinned": model.pinned}).items()
        if value != base.get(setting, False)
    ]
    names = [(f"{ALIASES}.{alias}", model) for alias, model in loaded.settings.aliases.items()]
    return models + [(name, model, loaded.sources[name]) for name, model in names]


def _shown(model: ModelSettings) -> dict[str, Any]:
    if model.local is not None:
        return dict(msgspec.to_builtins(model.local))
    if model.upstream is None:
        return dict(msgspec.to_builtins(model.faq or model.template))
    # A header may be a key by another name.
    shown = msgspec.to_builtins(model.upstream) | {"headers": f"{len(model.upstream.headers)} hidden"}
    default = msgspec.to_builtins(UpstreamSettings(base_url=""))
    return {name: value for name, value in shown.items() if value != default[name] or name == "headers"}
