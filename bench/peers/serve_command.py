"""Our own server by its command, as every benchmark starts it that wants more than the peer ``pennyweight`` has options for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from pennyweight.bench.result import own_version


@dataclass(frozen=True)
class ServeCommand:
    """``pennyweight serve`` with these arguments, of the installation that runs this, as a peer to start.

    ``variant`` says to people what sets it apart from others that are started beside it.
    """

    arguments: tuple[str, ...]
    variant: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    name: str = "pennyweight"
    ready_path: str = "/ready"

    def command(self, port: int) -> list[str]:
        """On that port of the loopback interface, whatever a configuration file among the arguments says."""
        serve = [sys.executable, "-m", "pennyweight.server.cli", "serve", *self.arguments]
        return [*serve, "--host", "127.0.0.1", "--port", str(port)]

    def version(self) -> str:
        return own_version()


def serve_command(
    model: str,
    options: Mapping[str, object],
    *flags: str,
    variant: str = "",
    environment: Mapping[str, str] | None = None,
) -> ServeCommand:
    """Of one model, with options that have values (``{"--dtype": "int8"}``) and flags that have none."""
    words = (word for option in options.items() for word in map(str, option))
    return ServeCommand((model, *words, *flags), variant, environment or {})
