"""Any server that a command starts."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PORT = "{port}"


@dataclass(frozen=True)
class ShellCommand:
    """A line for the shell, with ``{port}`` where the port goes; it must serve on the loopback interface.

    It is run in ``directory``, as it would be by whoever wrote it.
    """

    line: str
    ready_path: str
    directory: Path = field(default_factory=Path.cwd)
    name: str = "command"

    @property
    def variant(self) -> str:
        return self.line

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    def command(self, port: int) -> Sequence[str]:
        line = self.line.replace(PORT, str(port))
        return ["/bin/sh", "-c", f"cd {shlex.quote(str(self.directory))} && {line}"]

    def version(self) -> str:
        return "unknown"
