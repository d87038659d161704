"""One step of a suite: a benchmark's command, what it needs, and about how long it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pennyweight.bench.peers.base import Peer

# What stands in a command for the address of the step's server, and for the suite's directory.
URL, OUT = "{url}", "{out}"


@dataclass(frozen=True)
class Step:
    """``command`` is what follows ``pennyweight bench``, without --out; ``seconds`` is an estimate that includes the start of ``server``.

    ``server`` is started for the step, and kept for those after it that want the same. ``needs`` are the steps whose results the
    command reads. ``missing`` says why the step can't be done here, and is empty where it can.
    """

    name: str
    what: str
    command: tuple[str, ...]
    seconds: float
    server: Peer | None = None
    needs: tuple[str, ...] = ()
    missing: str = ""

    def arguments(self, places: Mapping[str, str]) -> list[str]:
        """The command with its places filled in."""
        arguments = []
        for part in self.command:
            for place, value in places.items():
                part = part.replace(place, value)
            arguments.append(part)
        return arguments
