"""The models that a server has: each opened on its engine, under every name that clients may give it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from .config import EngineSettings, FaqSettings, Settings, TemplateSettings, UpstreamSettings
from .engines.adapters import AdaptedEngines, AdapterDirectory, ModelAdapters
from .engines.base import Engine
from .engines.encoder.encoder_config import is_encoder
from .engines.encoder.launch import encoder_launch
from .engines.faq.engine import FaqEngine
from .engines.local.client import LocalEngine
from .engines.local.launch import Launch
from .engines.local.model_store import resolve
from .engines.local.quality_gate import check_gate
from .engines.native.launch import native_launch
from .engines.residency import Leave, Load, Residency
from .engines.template.engine import TemplateEngine
from .engines.tensorrt_llm.launch import tensorrt_llm_launch
from .engines.upstream.client import UpstreamEngine
from .engines.vllm.launch import vllm_launch
from .errors import ConfigError
from .loading import LoadingReport
from .model_names import described_models
from .serving import StartableEngine

LAUNCHES: Mapping[str, Callable[[EngineSettings, Path], Launch]] = {
    "native": native_launch,
    "encoder": encoder_launch,
    "vllm": vllm_launch,
    "tensorrt_llm": tensorrt_llm_launch,
}


def open_models(settings: Settings, report: LoadingReport, logger: FilteringBoundLogger) -> dict[str, StartableEngine]:
    """An engine for each name. Nothing is loaded yet; weights that aren't there are fetched.

    Several models look after their places together: with a memory budget they are loaded on demand, without one all are loaded
    at the start. Raises ConfigError for a name that two models have, ModelError for a model that can't be found, or that failed
    its quality gate: at the start also for one that would be loaded later.
    """
    residency = None
    if settings.models:
        residency = Residency(
            settings.residency,
            on_load=functools.partial(_log_load, logger),
            on_leave=functools.partial(_log_leave, logger),
        )
    engines: dict[str, StartableEngine] = {}
    for names, one in described_models(settings):
        engine: StartableEngine
        if isinstance(one, UpstreamSettings):
            engine = UpstreamEngine(one, names[0])
        elif isinstance(one, FaqSettings):
            engine = FaqEngine(one, names[0], on_reload=functools.partial(_log_reload, logger, names[0]))
        elif isinstance(one, TemplateSettings):
            engine = TemplateEngine(one, names[0])
        else:
            stage = "weights" if not settings.models else f"weights of {names[0]}"
            engine = local = _open_local(
                one, names[0], report, stage, constraint_seconds=settings.limits.constraint_compile_seconds
            )
            if residency is not None:
                pinned = settings.residency.memory_budget is None or settings.models[names[0]].pinned
                level = settings.models[names[0]].sleep_level
                engine = residency.add(names[0], local, pinned=pinned, sleep_level=level)
        for name in names:
            if name in engines:
                raise ConfigError(f"two models are called {name}: give each names of its own")
            engines[name] = engine
    return engines


def _open_local(
    settings: EngineSettings, name: str, report: LoadingReport, stage: str, *, constraint_seconds: float
) -> LocalEngine:
    path = resolve(settings.model, on_progress=report.advance)
    check_gate(path, settings)
    return LocalEngine(
        settings,
        path,
        name,
        launch_of(settings, path),
        constraint_seconds=constraint_seconds,
        on_loading=functools.partial(report.advance, stage),
    )


def launch_of(settings: EngineSettings, path: Path) -> Launch:
    """The engine that is set, for the model at ``path``: of our own two, the one that is made for such models."""
    kind = "encoder" if settings.kind == "native" and is_encoder(path) else settings.kind
    return LAUNCHES[kind](settings, path)


def with_adapters(settings: Settings, engines: Mapping[str, Engine]) -> Mapping[str, Engine]:
    """The engines, and where a model has adapters these as well. Raises ConfigError."""
    adapters: dict[str, ModelAdapters] = {}
    for names, one in described_models(settings):
        if isinstance(one, EngineSettings) and one.adapters_dir is not None:
            directory = AdapterDirectory(Path(one.adapters_dir), max_rank=one.max_lora_rank)
            adapters |= dict.fromkeys(names, ModelAdapters(directory=directory, aliases=one.adapter_aliases))
    return AdaptedEngines(engines, adapters) if adapters else engines


def _log_load(logger: FilteringBoundLogger, load: Load) -> None:
    logger.info("model loaded", model=load.model, seconds=round(load.seconds, 3), kind=load.kind)


def _log_reload(logger: FilteringBoundLogger, model: str, error: str | None) -> None:
    if error is None:
        logger.info("documents read again", model=model)
    else:
        logger.error("documents can't be read again, those of before are used", model=model, reason=error)


def _log_leave(logger: FilteringBoundLogger, leave: Leave) -> None:
    seconds = round(leave.seconds, 3)
    if leave.level is None:
        logger.info("model dropped", model=leave.model, seconds=seconds)
    else:
        logger.info("model put to sleep", model=leave.model, seconds=seconds, level=leave.level)
