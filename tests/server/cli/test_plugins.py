"""Commands of entry points stand beside the server's own, and in its groups."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from pennyweight.server.cli import plugins


class Point:
    """An entry point that gives an application."""

    def __init__(self, app: typer.Typer) -> None:
        self._app = app

    def load(self) -> typer.Typer:
        return self._app


def group(name: str, **commands: str) -> typer.Typer:
    app = typer.Typer(name=name)
    app.callback()(lambda: None)
    for command, text in commands.items():
        app.command(command)(lambda text=text: print(text))
    return app


def test_a_group_of_a_plugin_adds_to_the_server_s_of_its_name_and_replaces_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = typer.Typer(cls=plugins.CommandsAndPlugins)
    app.add_typer(group("cache", stats="own"))
    found = {"cache": Point(group("cache", stats="another", eval="added")), "bench": Point(group("bench", run="bench"))}
    monkeypatch.setattr(plugins, "_plugins", lambda: found)
    for arguments, said in ((["cache", "stats"], "own"), (["cache", "eval"], "added"), (["bench", "run"], "bench")):
        assert CliRunner().invoke(app, arguments).output == f"{said}\n"
    shown = CliRunner().invoke(app, ["--help"]).output
    assert shown.count("cache") == 1
    assert "bench" in shown
