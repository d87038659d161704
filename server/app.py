"""The wiring: settings and engines go in, an ASGI application comes out. Nothing happens at import."""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import os
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from .admission import Admission
from .auth import RequireApiKey
from .cache.administration import CacheAdministration
from .cache.only_kept import only_kept
from .cache.open_cache import open_cache
from .cache.response_cache import ResponseCache
from .cache.semantic.cache import SemanticCache
from .cache.semantic.wiring import make_semantic_cache
from .config import (
    Settings,
)
from .config_file import PRICES_VARIABLE
from .connection import AnswerAtOnce
from .deadline import timed
from .endpoints import Dispatch, endpoint_names, engine_paths, routes
from .engines.base import Engine
from .engines.in_mode import InMode
from .errors import ConfigError, ModelError
from .gateway import Gateway
from .immediate import ImmediateHits
from .ledger.price_book import PriceBook, load_prices
from .loading import LoadingReport
from .middleware import AccountRequests, AnswerErrors
from .overload.overload import Overload
from .record.recorder import Recorder
from .record.wiring import make_recorder
from .router.wiring import Routing, make_routing, route_names
from .serving import Serving, bind, uvicorn_config
from .shortcuts import Shortcuts
from .telemetry.breakers import BreakerCollector
from .telemetry.logs import adopt_standard_logging, make_logger
from .telemetry.metrics import Metrics
from .telemetry.overload import OverloadCollector
from .telemetry.recording import RecordingCollector
from .telemetry.response_cache import AgeHistogram, ResponseCacheCollector
from .telemetry.router import RouterCollector
from .telemetry.semantic_cache import SemanticCacheCollector
from .tenants import Tenants

# What a page of another origin may read of an answer beside its body.
EXPOSED_HEADERS = (
    "x-request-id",
    "x-pennyweight-warning",
    "x-pennyweight-cache",
    "x-pennyweight-cache-key",
    "x-pennyweight-route",
    "x-pennyweight-recorded",
    "x-pennyweight-deterministic",
    "age",
    "warning",
    "retry-after",
)


class Application:
    """The ASGI application: ``routes`` behind the middleware that every request passes.

    ``answer_at_once`` is for the connections of a server: what it answers need not be given to the application.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: list[Route],
        response_cache: ResponseCache | None = None,
        semantic_cache: SemanticCache | None = None,
        answer_at_once: AnswerAtOnce | None = None,
        recorder: Recorder | None = None,
        routing: Routing | None = None,
    ) -> None:
        self._app = app
        self.answer_at_once = answer_at_once
        self.routes = routes
        self.response_cache = response_cache
        self.semantic_cache = semantic_cache
        self.recorder = recorder
        self._routing = routing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def aclose(self) -> None:
        """Let go of what the application itself has opened, once nobody calls it any more."""
        if self.recorder is not None:
            await self.recorder.aclose()
        if self.response_cache is not None:
            await self.response_cache.aclose()
        if self.semantic_cache is not None:
            await self.semantic_cache.aclose()
        if self._routing is not None:
            await self._routing.aclose()


def create_app(
    settings: Settings,
    engines: Mapping[str, Engine],
    *,
    admission: Admission | None = None,
    metrics: Metrics | None = None,
    logger: FilteringBoundLogger | None = None,
    prices: PriceBook | None = None,
) -> Application:
    """The application. ``engines`` are by each name that a client may give as ``model``; they are their owner's to close, as the
    application is. Raises ConfigError for a response cache or a recording that can't be opened.

    ``admission`` is for an owner who drains the server, ``metrics`` for one who adds to them; ``logger`` is where the
    request lines go, by default stderr. ``prices`` is the book in which models' prices are looked up that are given by an id.
    """
    logger = logger or make_logger(settings.log)
    version = importlib.metadata.version("pennyweight")
    metrics = metrics or Metrics(engines, version=version, routes=route_names(settings))
    around: list[Callable[[Engine], Engine]] = []
    asked_for = [test.name for rule in settings.router.rules for test in rule.headers]
    recorder = make_recorder(settings.record, engines, logger, headers=asked_for)
    if recorder is not None:
        metrics.registry.register(RecordingCollector(recorder))
        around.append(recorder.telling)
    if settings.overload.adaptive:
        overload = Overload(settings.overload)
        metrics.registry.register(OverloadCollector(overload, metrics.engines))
        around.append(overload.around)
    around.append(only_kept)
    semantic_cache = None
    if settings.semantic_cache.tenants:
        semantic_cache = make_semantic_cache(settings.semantic_cache, engines)
        metrics.registry.register(SemanticCacheCollector(semantic_cache))
        around.append(semantic_cache.around)
    cache = None
    if settings.response_cache.max_bytes:
        ages = AgeHistogram(metrics.registry)
        stale = max((tier.stale_if_error or 0.0 for tier in settings.tiers.values()), default=0.0)
        cache = open_cache(settings.response_cache, logger, on_hit=ages.observe, stale=stale)
        metrics.registry.register(ResponseCacheCollector(cache))
        around.append(cache.around)
    around += [InMode, timed]
    tenants = Tenants.of(settings)
    routing = make_routing(settings, engines, tenants, prices or PriceBook(), around)
    if routing.engines:
        metrics.registry.register(RouterCollector(routing))
        metrics.registry.register(BreakerCollector(routing.breakers, routing.budget))
    gateway = Gateway(
        settings=settings,
        engines=engines,
        around=around,
        routes=routing.engines,
        tenants=tenants,
        admission=admission or Admission(settings.limits.max_waiting),
        metrics=metrics,
        logger=logger,
        version=version,
        response_cache=cache,
        recorder=recorder,
        # With prompts in the log each request has to be read.
        shortcuts=None if cache is None or settings.log.prompts else Shortcuts(cache, engines),
    )
    served = routes(gateway)
    # From the inside out. Put together here and not by Starlette, whose own two layers around them every message would pass.
    app: ASGIApp = Dispatch(served)
    app = keys = RequireApiKey(app, tenants)
    app = AnswerErrors(app, logger=logger)
    if settings.http.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.http.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=EXPOSED_HEADERS,
        )
    app = accounts = AccountRequests(app, logger=logger, metrics=metrics, endpoint_of=endpoint_names(served))
    answer_at_once = None
    if gateway.shortcuts is not None:
        answer_at_once = ImmediateHits(
            gateway.shortcuts,
            paths=engine_paths(served),
            accounts=accounts,
            keys=keys,
            admission=gateway.admission,
            metrics=metrics,
            recorder=recorder,
        ).answer
    return Application(app, served, cache, semantic_cache, answer_at_once, recorder, routing)


def serve(settings: Settings) -> int:
    """Run the server until it is told to stop; returns the exit code, 1 after one line on stderr that says why not.

    The address is taken first, so that one in use is known before a model is fetched; the server answers as soon as it
    is known where the model lies, and while the model is loaded.
    """
    try:
        return _serve(settings)
    except (ConfigError, ModelError) as error:
        print(f"pennyweight: {error}", file=sys.stderr)
        return 1


def _serve(settings: Settings) -> int:
    # Here and not above: who embeds the application with engines of another kind needs none of this.
    from .admin import create_admin_app
    from .models import open_models, with_adapters
    from .registry import Registry
    from .telemetry.gpu.telemetry import device_telemetry

    logger = make_logger(settings.log)
    adopt_standard_logging(settings.log)
    with ExitStack() as opened:
        listener = opened.enter_context(bind(settings.http.host, settings.http.port))
        admin_listener = None
        if settings.admin.port is not None:
            admin_listener = opened.enter_context(bind(settings.admin.host, settings.admin.port, section="admin"))
        report = opened.enter_context(LoadingReport(logger))
        models = open_models(settings, report, logger)
        state_file = settings.admin.state_file
        registry = Registry(models, settings.aliases, state_file=Path(state_file).expanduser() if state_file else None)
        admission = Admission(settings.limits.max_waiting)
        places = {"url": _url(listener)} | ({"admin": _url(admin_listener)} if admin_listener else {})
        engines = with_adapters(settings, registry)
        metrics = Metrics(engines, version=importlib.metadata.version("pennyweight"), routes=route_names(settings))
        prices = _prices() if settings.tiers else None
        app = create_app(settings, engines, admission=admission, metrics=metrics, logger=logger, prices=prices)
        opened.enter_context(
            device_telemetry(
                settings.telemetry, metrics.engines, metrics.answered_tokens, metrics.registry, logger.warning
            )
        )

        def on_ready() -> None:
            report.close()
            # What is here now stays: a collection that went through it all would hold every stream up for a tenth of a second.
            gc.collect()
            gc.freeze()

        serving = Serving(
            app,
            settings.http,
            models,
            admission,
            logger,
            on_listening=lambda: logger.info("listening", **places, models=list(registry)),
            on_ready=on_ready,
            admin=create_admin_app(
                registry, settings.http.api_keys, logger, CacheAdministration(app.response_cache, app.semantic_cache)
            )
            if admin_listener
            else None,
        )

        async def run() -> int:
            serving.handle_signals()
            try:
                return await serving.run(listener, admin_listener)
            finally:
                await app.aclose()

        with asyncio.Runner(loop_factory=uvicorn_config(app, settings.http).get_loop_factory()) as runner:
            return runner.run(run())


def _prices() -> PriceBook:
    own = os.environ.get(PRICES_VARIABLE)
    return load_prices(Path(own) if own else None)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
