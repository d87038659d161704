"""What operators do with a running server on a port of its own: see, load and drop models, move aliases, purge the response cache."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from .api.exchange import error_object
from .auth import RequireApiKey
from .cache.administration import CacheAdministration
from .engines.base import Engine
from .engines.residency import ResidentEngine
from .errors import InvalidRequest, ModelLoading, ModelNotFound, PennyweightError
from .registry import Registry
from .tenants import Tenants

Handler = Callable[[Request], Coroutine[Any, Any, JSONResponse]]


def create_admin_app(
    registry: Registry,
    api_keys: tuple[str, ...],
    logger: FilteringBoundLogger,
    caches: CacheAdministration | None = None,
) -> Starlette:
    """The administration's application: ``GET /models``, ``POST /models/{name}/load``, ``.../unload``, ``.../sleep`` with
    ``{"level": 1}`` or nothing,
    ``POST /aliases/{alias}`` with ``{"model": ...}``, ``POST /aliases/{alias}/rollback``, ``GET /response-cache``, and
    ``DELETE /response-cache`` with any of ``?key=&tenant=&model=``, or ``?all=true``. Every change is logged.

    ``api_keys`` are the operator's: a tenant's don't open it."""
    admin = _Admin(registry, logger, caches or CacheAdministration(None))
    return Starlette(
        routes=[
            Route("/models", _answering(admin.models), methods=["GET"]),
            Route("/models/{name:path}/load", _answering(admin.load), methods=["POST"]),
            Route("/models/{name:path}/sleep", _answering(admin.sleep), methods=["POST"]),
            Route("/models/{name:path}/unload", _answering(admin.unload), methods=["POST"]),
            Route("/aliases/{alias}", _answering(admin.promote), methods=["POST"]),
            Route("/aliases/{alias}/rollback", _answering(admin.roll_back), methods=["POST"]),
            Route("/response-cache", _answering(admin.cache_stats), methods=["GET"]),
            Route("/response-cache", _answering(admin.purge_cache), methods=["DELETE"]),
        ],
        middleware=[Middleware(_ErrorsAsJson), Middleware(RequireApiKey, tenants=Tenants(api_keys, {}))],
    )


class _Admin:
    def __init__(self, registry: Registry, logger: FilteringBoundLogger, cache: CacheAdministration) -> None:
        self._registry = registry
        self._logger = logger
        self._cache = cache

    async def models(self, request: Request) -> JSONResponse:
        return JSONResponse({"models": [self._described(name, one) for name, one in self._registry.models.items()]})

    async def load(self, request: Request) -> JSONResponse:
        name, engine = self._managed(request)
        await engine.load()
        self._logger.info("load asked for", model=name)
        return JSONResponse(self._described(name, engine))

    async def unload(self, request: Request) -> JSONResponse:
        name, engine = self._managed(request)
        await engine.unload()
        self._logger.info("unload asked for", model=name)
        return JSONResponse(self._described(name, engine))

    async def sleep(self, request: Request) -> JSONResponse:
        name, engine = self._managed(request)
        try:
            level = (await request.json())["level"] if await request.body() else 1
            if type(level) is not int:
                raise TypeError
        except (ValueError, KeyError, TypeError):
            raise InvalidRequest('The body must be empty or JSON such as {"level": 1}.', param="level") from None
        await engine.sleep(level)
        self._logger.info("sleep asked for", model=name, level=level)
        return JSONResponse(self._described(name, engine))

    async def promote(self, request: Request) -> JSONResponse:
        alias = request.path_params["alias"]
        try:
            model = (await request.json())["model"]
        except (ValueError, KeyError, TypeError):
            raise InvalidRequest('The body must be JSON such as {"model": "name"}.', param="model") from None
        engine = self._registry.models.get(model)
        if isinstance(engine, ResidentEngine):
            await engine.load()  # before anybody is sent there
        before = self._registry.promote(alias, model)
        self._logger.info("promoted", alias=alias, model=model, before=before)
        return JSONResponse({"alias": alias, "model": model, "before": before})

    async def roll_back(self, request: Request) -> JSONResponse:
        alias = request.path_params["alias"]
        model = self._registry.roll_back(alias)
        self._logger.info("rolled back", alias=alias, model=model)
        return JSONResponse({"alias": alias, "model": model})

    async def cache_stats(self, request: Request) -> JSONResponse:
        return JSONResponse(await self._cache.stats())

    async def purge_cache(self, request: Request) -> JSONResponse:
        asked = dict(request.query_params)
        all_of_it = asked.pop("all", "false")
        if unknown := asked.keys() - {"key", "tenant", "model"}:
            raise InvalidRequest(f"There is no parameter {min(unknown)}; there are key, tenant, model and all.")
        if all_of_it not in ("true", "false"):
            raise InvalidRequest("'all' must be true or false.", param="all")
        found = await self._cache.purge(**asked, all_of_it=all_of_it == "true")
        self._logger.info("response cache purged", **asked, **found["purged"])
        return JSONResponse(found)

    def _described(self, name: str, engine: Engine) -> dict[str, Any]:
        health = engine.health()
        aliases = [alias for alias, model in self._registry.aliases.items() if model == name]
        found: dict[str, Any] = {"name": name, "state": health.state.value, "detail": health.detail, "aliases": aliases}
        with contextlib.suppress(ModelLoading):  # not known before its first load
            capabilities = engine.capabilities()
            found |= {"engine": capabilities.engine, "fingerprint": capabilities.fingerprint}
        if isinstance(engine, ResidentEngine):
            size = engine.engine.resident_bytes() if engine.is_loaded or engine.is_asleep else 0
            found |= {"pinned": engine.pinned, "users": engine.users, "waiting": len(engine.waiting), "bytes": size}
        return found

    def _managed(self, request: Request) -> tuple[str, ResidentEngine]:
        name = request.path_params["name"]
        engine = self._registry.get(name)
        if engine is None:
            raise ModelNotFound(f"There is no model {name}; there are {', '.join(self._registry)}.", param="model")
        if not isinstance(engine, ResidentEngine):
            raise InvalidRequest(
                f"The model {name} is this server's only one, or another server's: it can't be managed here.",
                param="model",
            )
        return name, engine


def _answering(handler: Handler) -> Handler:
    async def answer(request: Request) -> JSONResponse:
        try:
            return await handler(request)
        except PennyweightError as error:
            return JSONResponse(error_object(error), error.status)

    return answer


class _ErrorsAsJson:
    """Middleware that answers what another refuses."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except PennyweightError as error:
            await JSONResponse(error_object(error), error.status)(scope, receive, send)
