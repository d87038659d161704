"""What clients call the models of a server."""

from __future__ import annotations

from pathlib import Path

from .config import EngineSettings, Settings


def served_names(engine: EngineSettings) -> tuple[str, ...]:
    """The names given to a model, else its own; of a path, its last part."""
    path = Path(engine.model).expanduser()
    return engine.served_model_name or (
        (path.absolute().name.removesuffix(".gguf") if path.exists() else engine.model),
    )


def described_models(settings: Settings) -> list[tuple[tuple[str, ...], EngineSettings]]:
    """Each model's names, the first of them its own, and its settings."""
    if not settings.models:
        return [(served_names(settings.engine), settings.engine)]
    return [((name, *one.local.served_model_name), one.local) for name, one in settings.models.items()]
