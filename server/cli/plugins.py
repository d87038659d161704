"""Commands that stand beside the server's own: each is an entry point of the group ``pennyweight.commands``.

So the command line has the benchmarks without the server's code knowing them, and a package of somebody else's can add a command. A
group that has the name of one of the server's own adds its commands to that.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import typer
from typer.core import TyperGroup

GROUP = "pennyweight.commands"


class CommandsAndPlugins(TyperGroup):
    """The commands that were added in code, then those of entry points, which are typer applications."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        own = super().list_commands(ctx)
        return [*own, *sorted(_plugins().keys() - set(own))]

    def get_command(self, ctx: typer.Context, cmd_name: str):  # type: ignore[no-untyped-def, override] # click's or typer's own
        found = super().get_command(ctx, cmd_name)
        if (plugin := _plugins().get(cmd_name)) is None:
            return found
        added = typer.main.get_command(plugin.load())
        if found is None:
            added.name = cmd_name
            return added
        if isinstance(found, TyperGroup) and isinstance(added, TyperGroup):
            found.commands = {**added.commands, **found.commands}
        return found


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
