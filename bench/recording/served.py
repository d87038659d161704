"""The server that is measured: one model, and where it records."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from pennyweight.bench.result import own_version

MODEL = "measured"


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """``pennyweight serve`` of ``model`` as a peer to start. It has no response cache, so each answer is generated; ``directory`` is
    where it records, None for nowhere.
    """

    model: str
    dtype: str
    directory: Path | None
    name: str = "pennyweight"
    ready_path: str = "/ready"

    @property
    def variant(self) -> str:
        return f"{self.dtype}, {'not recording' if self.directory is None else 'recording'}"

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    def command(self, port: int) -> Sequence[str]:
        options = {
            "--dtype": self.dtype,
            "--served-model-name": MODEL,
            "--host": "127.0.0.1",
            "--port": str(port),
        }
        if self.directory is not None:
            options["--record"] = os.fspath(self.directory.absolute())
        serve = [sys.executable, "-m", "pennyweight.server.cli", "serve", self.model]
        return [*serve, *(part for pair in options.items() for part in pair)]

    def version(self) -> str:
        return own_version()
