"""What clients call the models of a server."""

from __future__ import annotations

from pathlib import Path

from .config import EngineSettings, FaqSettings, Settings, TemplateSettings, UpstreamSettings

AnyEngineSettings = EngineSettings | UpstreamSettings | FaqSettings | TemplateSettings


def served_names(engine: EngineSettings) -> tuple[str, ...]:
    """The names given to a model, else its own; of a path, its last part."""
    path = Path(engine.model).expanduser()
    return engine.served_model_name or (
        (path.absolute().name.removesuffix(".gguf") if path.exists() else engine.model),
    )


def described_models(settings: Settings) -> list[tuple[tuple[str, ...], AnyEngineSettings]]:
    """Each model's names, the first of them its own, and the settings of its engine."""
    if not settings.models:
        return [(served_names(settings.engine), settings.engine)]
    found: list[tuple[tuple[str, ...], AnyEngineSettings]] = []
    for name, one in settings.models.items():
        if one.local is not None:
            found.append(((name, *one.local.served_model_name), one.local))
        found += [((name,), other) for other in (one.upstream, one.faq, one.template) if other is not None]
    return found
