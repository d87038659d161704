"""The one list of what is answered: path, method, handler."""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from . import probes
from .api import chat
from .api.exchange import Answer, Endpoint
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

    return [
        call("/v1/chat/completions", chat.create_chat_completion),
        get("/health", probes.health),
        get("/ready", lambda: probes.ready(gateway)),
        get("/metrics", lambda: probes.metrics(gateway)),
        get("/version", lambda: probes.version(gateway)),
    ]


def endpoint_names(served: list[Route]) -> Callable[[str], str]:
    """A function from a path as requested to its route's, so that logs and metrics have one name for each endpoint."""

    def endpoint_of(path: str) -> str:
        for route in served:
            if route.path_regex.match(path):
                return route.path_format
        return UNKNOWN_ENDPOINT

    return endpoint_of
