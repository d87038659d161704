"""How the native engine's process is started."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.launch import Launch


def native_launch(settings: EngineSettings, path: Path) -> Launch:
    """The native engine for the model at ``path``."""
    return Launch(
        engine="native",
        module="pennyweight.server.engines.native.worker",
        arguments={"path": str(path), "settings": msgspec.to_builtins(settings)},
    )
