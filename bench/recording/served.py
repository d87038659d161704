"""The server that is measured: one model, and where it records."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from pennyweight.bench.peers.serve_command import ServeCommand, serve_command

MODEL = "measured"


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A ``model`` and its precision."""

    model: str
    dtype: str

    def serve(self, directory: Path | None = None) -> ServeCommand:
        """A server of it that records in ``directory``, or nowhere. It has no response cache, so each answer is generated."""
        options = {"--dtype": self.dtype, "--served-model-name": MODEL}
        if directory is not None:
            options["--record"] = os.fspath(directory.absolute())
        variant = f"{self.dtype}, {'not recording' if directory is None else 'recording'}"
        return serve_command(self.model, options, variant=variant)
