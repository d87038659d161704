"""The one list of what is answered: path, method, handler."""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from . import probes
from .api import chat, completions, embeddings, models, tokenization
from .api.exchange import Answer, Endpoint, json_answer
from .api.openapi import openapi_document
from .gateway import EngineEndpoint, Gateway
from .middleware import send_answer

# What a path is called in logs and metrics that is none of ours.
UNKNOWN_ENDPOINT = "unknown"


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
        openapi_document(version=gateway.version, needs_api_key=bool(gateway.settings.http.api_keys))
    )
    return [
        call("/v1/chat/completions", chat.create_chat_completion),
        call("/v1/completions", completions.create_completion),
        call("/v1/embeddings", embeddings.create_embedding),
        get("/v1/models", lambda: models.list_models(gateway.engines)),
        get("/v1/models/{model:path}", lambda model: models.retrieve_model(gateway.engines, model)),
        call("/tokenize", tokenization.tokenize),
        call("/detokenize", tokenization.detokenize),
        get("/health", probes.health),
        get("/ready", lambda: probes.ready(gateway)),
        get("/metrics", lambda: probes.metrics(gateway)),
        get("/version", lambda: probes.version(gateway)),
        get("/openapi.json", lambda: document),
    ]


def endpoint_names(served: list[Route]) -> Callable[[str], str]:
    """A function from a path as requested to its route's, so that logs and metrics have one name for each endpoint."""

    def endpoint_of(path: str) -> str:
        for route in served:
            if route.path_regex.match(path):
                return route.path_format
        return UNKNOWN_ENDPOINT

    return endpoint_of
