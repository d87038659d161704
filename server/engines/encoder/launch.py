"""How the encoder's process is started."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.launch import Launch


def encoder_launch(settings: EngineSettings, path: Path) -> Launch:
    """The encoder for the model at ``path``."""
    return Launch(
        engine="encoder",
        module="pennyweight.server.engines.encoder.worker",
        arguments={"path": str(path), "settings": msgspec.to_builtins(settings)},
        # A thread that waits for another sleeps: where it would spin, a pass on cores that others use takes twenty times as long.
        environment={"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")},
    )
