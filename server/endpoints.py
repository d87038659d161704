"""The one list of what is answered: path, method, handler."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from starlette.exceptions import HTTPException
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from . import probes
from .api import chat, completions, embeddings, models, tokenization
from .api import route as route_api
from .api.exchange import Answer, Endpoint, error_answer, json_answer
from .api.openapi import openapi_document
from .errors import MethodNotAllowed, NotFound, PennyweightError
from .gateway import EngineEndpoint, Gateway
from .middleware import record_of, send_answer

# What a path is called in logs and metrics that is none of ours.
UNKNOWN_ENDPOINT = "unknown"
MAX_SHOWN_PATH = 200


class _Get:
    """An endpoint that answers at once, without a body, as an ASGI app."""

    def __init__(self, answer: Callable[..., Answer]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_answer(self._answer(**scope["path_params"]), send)


def routes(gateway: Gateway) -> list[Route]:
    """Every endpoint of the server."""

    def call(path: str, endpoint: Endpoint) -> Route:
        return Route(path, EngineEndpoint(gateway, endpoint), methods=["POST"])

    def get(path: str, answer: Callable[..., Answer]) -> Route:
        return Route(path, _Get(answer), methods=["GET"])

    document = json_answer(
        openapi_document(
            version=gateway.version, needs_api_key=bool(gateway.settings.http.api_keys or gateway.settings.tenants)
        )
    )
    return [
        call("/v1/chat/completions", chat.create_chat_completion),
        call("/v1/completions", completions.create_completion),
        call("/v1/embeddings", embeddings.create_embedding),
        get("/v1/models", lambda: models.list_models(gateway.engines, gateway.routes)),
        get("/v1/models/{model:path}", lambda model: models.retrieve_model(gateway.engines, gateway.routes, model)),
        call("/v1/route/explain", route_api.explain_route),
        call("/tokenize", tokenization.tokenize),
        call("/detokenize", tokenization.detokenize),
        get("/health", probes.health),
        get("/ready", lambda: probes.ready(gateway)),
        get("/metrics", lambda: probes.metrics(gateway)),
        get("/version", lambda: probes.version(gateway)),
        get("/openapi.json", lambda: document),
    ]


def engine_paths(served: list[Route]) -> list[str]:
    """The paths that engines answer on."""
    return [route.path for route in served if isinstance(route.app, EngineEndpoint)]


def endpoint_names(served: list[Route]) -> Callable[[str], str]:
    """A function from a path as requested to its route's, so that logs and metrics have one name for each endpoint."""

    exact = {route.path: route.path_format for route in served}

    def endpoint_of(path: str) -> str:
        if path in exact:
            return exact[path]
        for route in served:
            if route.path_regex.match(path):
                return route.path_format
        return UNKNOWN_ENDPOINT

    return endpoint_of


class Dispatch:
    """Calls the endpoint that a request is for. The router is only asked where path and method aren't exactly a route's.

    A client that writes a slash too many gets a 404 that says so, not a redirect that drops its POST's body.
    """

    def __init__(self, served: list[Route]) -> None:
        self._router = Router(served, redirect_slashes=False)
        self._exact: dict[tuple[str, str], ASGIApp] = {
            (method, route.path): route.app
            for route in served
            if not route.param_convertors
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._exact.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if endpoint is not None:
            scope["path_params"] = {}
            await endpoint(scope, receive, send)
            return
        scope["app"] = self  # so that the router raises what it finds wrong
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            await _answer_router(error, scope, send)


async def _answer_router(error: HTTPException, scope: Scope, send: Send) -> None:
    """What the router finds wrong, in OpenAI's shape."""
    path, method = scope["path"][:MAX_SHOWN_PATH], scope["method"]
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if error.status_code == 405:
        allowed = ", ".join(sorted((error.headers or {})["Allow"].split(", ")))
        headers = ((b"allow", allowed.encode()),)
        ours: PennyweightError = MethodNotAllowed(f"Not allowed to {method} on {path}: use {allowed}.")
    else:
        ours = NotFound(f"Invalid URL ({method} {path}).")
    record_of(scope).error_code = ours.code
    answer = error_answer(ours)
    await send_answer(msgspec.structs.replace(answer, headers=answer.headers + headers), send)
