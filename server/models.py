"""The models that a server has: each opened on its engine, under every name that clients may give it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from .config import EngineSettings, Settings
from .engines.adapters import AdaptedEngines, AdapterDirectory, ModelAdapters
from .engines.base import Engine
from .engines.local.client import Launch, LocalEngine
from .engines.local.model_store import resolve
from .engines.native.launch import native_launch
from .engines.residency import Load, Residency
from .engines.tensorrt_llm.launch import tensorrt_llm_launch
from .engines.vllm.launch import vllm_launch
from .errors import ConfigError
from .loading import LoadingReport
from .model_names import described_models
from .serving import StartableEngine

LAUNCHES: Mapping[str, Callable[[EngineSettings, Path], Launch]] = {
    "native": native_launch,
    "vllm": vllm_launch,
    "tensorrt_llm": tensorrt_llm_launch,
}


def open_models(settings: Settings, report: LoadingReport, logger: FilteringBoundLogger) -> dict[str, StartableEngine]:
    """An engine for each name. Nothing is loaded yet; weights that aren't there are fetched.

    With a memory budget, engines are loaded on demand. Raises ConfigError for a name that two models have, ModelError for a
    model that can't be found.
    """
    residency = None
    if settings.residency.memory_budget is not None:
        residency = Residency(
            settings.residency,
            on_load=functools.partial(_log_load, logger),
            on_unload=lambda model, stay: logger.info("model dropped", model=model, seconds=round(stay, 3)),
        )
    engines: dict[str, StartableEngine] = {}
    for names, one in described_models(settings):
        path = resolve(one.model, on_progress=report.advance)
        stage = "weights" if not settings.models else f"weights of {names[0]}"
        local = LocalEngine(
            one,
            path,
            names[0],
            LAUNCHES[one.kind](one, path),
            constraint_seconds=settings.limits.constraint_compile_seconds,
            on_loading=functools.partial(report.advance, stage),
        )
        engine: StartableEngine = local
        if residency is not None:
            pinned = names[0] in settings.models and settings.models[names[0]].pinned
            engine = residency.add(names[0], local, pinned=pinned)
        for name in names:
            if name in engines:
                raise ConfigError(f"two models are called {name}: give each names of its own")
            engines[name] = engine
    return engines


def with_adapters(settings: Settings, engines: Mapping[str, Engine]) -> Mapping[str, Engine]:
    """The engines, and where a model has adapters these as well. Raises ConfigError."""
    adapters: dict[str, ModelAdapters] = {}
    for names, one in described_models(settings):
        if one.adapters_dir is not None:
            directory = AdapterDirectory(Path(one.adapters_dir), max_rank=one.max_lora_rank)
            adapters |= dict.fromkeys(names, ModelAdapters(directory=directory, aliases=one.adapter_aliases))
    return AdaptedEngines(engines, adapters) if adapters else engines


def _log_load(logger: FilteringBoundLogger, load: Load) -> None:
    logger.info("model loaded", model=load.model, seconds=round(load.seconds, 3), kind=load.kind)
