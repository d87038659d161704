"""A peer: one server to compare, in one configuration, as a command to start."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from typing import Protocol


class PeerFailed(Exception):
    """A peer's server didn't start, ended, or failed: the ``reason``, and beside it in the message the end of its log."""

    def __init__(self, reason: str, log: str = "") -> None:
        super().__init__(f"{reason}; the server's last words: {log}" if log else reason)
        self.reason = reason


class Peer(Protocol):
    """How one server is started in one configuration."""

    @property
    def name(self) -> str:
        """The server's."""
        ...

    @property
    def variant(self) -> str:
        """The configuration: its numerics, and what else sets it apart."""
        ...

    @property
    def ready_path(self) -> str:
        """The path that answers 200 once the server takes requests, and not before."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """What is set beside this process's environment."""
        ...

    def command(self, port: int) -> Sequence[str]:
        """The command that serves on that port of the loopback interface."""
        ...

    def version(self) -> str:
        """The server's version. Raises PeerFailed where it isn't installed."""
        ...


def output_of(command: Sequence[str]) -> str:
    """What a command prints, its errors too. Raises PeerFailed."""
    try:
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise PeerFailed(f"{command[0]} can't be run: {error}") from error
    return done.stdout.strip()
