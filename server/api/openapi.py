"""The OpenAPI 3.1 document at GET /openapi.json, made of the types that requests are read into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from pennyweight.server.errors import AuthenticationFailed, PennyweightError

from . import answer_types as answers
from .chat_request import ChatRequest
from .completion_request import CompletionRequest
from .embeddings import EmbeddingRequest
from .exchange import WARNING_HEADER
from .tokenization import DetokenizeRequest, TokenizeRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One endpoint.

    ``answer`` is what comes with the statuses in ``answered``, None for text that is no JSON; ``chunk`` is what each event
    of its stream is. With those in ``refused`` comes an error.
    """

    path: str
    method: str
    id: str
    summary: str
    request: type[msgspec.Struct] | None = None
    answer: type[msgspec.Struct] | None = None
    chunk: type[msgspec.Struct] | None = None
    answered: tuple[int, ...] = (200,)
    refused: tuple[int, ...] = ()
    is_public: bool = False


_CALL = (400, 401, 403, 404, 408, 413, 415, 429, 500, 503)
_GENERATION = (*_CALL, 504)  # with Cache-Control: only-if-cached

OPERATIONS = (
    Operation(
        path="/v1/chat/completions",
        method="post",
        id="createChatCompletion",
        summary="Answer a conversation",
        request=ChatRequest,
        answer=answers.ChatCompletion,
        chunk=answers.ChatCompletionChunk,
        refused=_GENERATION,
    ),
    Operation(
        path="/v1/completions",
        method="post",
        id="createCompletion",
        summary="Continue texts",
        request=CompletionRequest,
        answer=answers.Completion,
        chunk=answers.Completion,
        refused=_GENERATION,
    ),
    Operation(
        path="/v1/embeddings",
        method="post",
        id="createEmbedding",
        summary="Turn texts into vectors",
        request=EmbeddingRequest,
        answer=answers.EmbeddingList,
        refused=_CALL,
    ),
    Operation(
        path="/v1/models",
        method="get",
        id="listModels",
        summary="List the models",
        answer=answers.ModelList,
        refused=(401,),
    ),
    Operation(
        path="/v1/models/{model}",
        method="get",
        id="retrieveModel",
        summary="Tell of one model",
        answer=answers.DescribedModel,
        refused=(401, 404, 503),
    ),
    Operation(
        path="/v1/route/explain",
        method="post",
        id="explainRoute",
        summary="Tell which model a conversation would go to, and why",
        request=ChatRequest,
        answer=answers.RouteExplanation,
        refused=_CALL,
    ),
    Operation(
        path="/tokenize",
        method="post",
        id="tokenize",
        summary="Turn a text or a conversation into token ids",
        request=TokenizeRequest,
        answer=answers.Tokens,
        refused=_CALL,
    ),
    Operation(
        path="/detokenize",
        method="post",
        id="detokenize",
        summary="Turn token ids into text",
        request=DetokenizeRequest,
        answer=answers.DetokenizedText,
        refused=_CALL,
    ),
    Operation(
        path="/health",
        method="get",
        id="health",
        summary="Whether the server is alive",
        answer=answers.Liveness,
        is_public=True,
    ),
    Operation(
        path="/ready",
        method="get",
        id="ready",
        summary="Whether every model takes requests",
        answer=answers.Readiness,
        answered=(200, 503),
        is_public=True,
    ),
    Operation(path="/metrics", method="get", id="metrics", summary="Metrics for Prometheus", is_public=True),
    Operation(
        path="/version",
        method="get",
        id="version",
        summary="The server's version",
        answer=answers.Version,
        is_public=True,
    ),
    Operation(
        path="/openapi.json",
        method="get",
        id="openapi",
        summary="This document",
        answer=answers.OpenAPIDocument,
        is_public=True,
    ),
)

_JSON = "application/json"
_COMPONENTS = "#/components/schemas/{name}"


def openapi_document(*, version: str, needs_api_key: bool) -> dict[str, Any]:
    """The document of a server of this version."""
    paths: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for operation in OPERATIONS:
        paths[operation.path][operation.method] = _operation(operation, needs_api_key=needs_api_key)
    components: dict[str, Any] = {"schemas": _schemas()}
    if needs_api_key:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pennyweight",
            "version": version,
            "description": "A self-hosted inference server that speaks OpenAI's API.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": dict(paths),
        "components": components,
    }


def _operation(operation: Operation, *, needs_api_key: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"operationId": operation.id, "summary": operation.summary}
    if "{model}" in operation.path:
        schema = {"type": "string"}
        found["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": schema}]
    if operation.request is not None:
        found["requestBody"] = {"required": True, "content": {_JSON: {"schema": _reference(operation.request)}}}
    found["responses"] = {str(status): _answer(operation) for status in operation.answered}
    for status in operation.refused:
        if status != AuthenticationFailed.status or needs_api_key:
            found["responses"][str(status)] = _error(status)
    if needs_api_key and not operation.is_public:
        found["security"] = [{"key": []}]
    return found


def _answer(operation: Operation) -> dict[str, Any]:
    if operation.answer is None:
        return {"description": operation.summary, "content": {"text/plain": {"schema": {"type": "string"}}}}
    found: dict[str, Any] = {
        "description": _description(operation.answer),
        "content": {_JSON: {"schema": _reference(operation.answer)}},
    }
    if operation.chunk is not None:
        # OpenAPI 3.1 has no word for the schema of one event.
        event = (
            f"Server-sent events, each a {operation.chunk.__name__}, or the error that ends it; [DONE] after the last."
        )
        found["content"]["text/event-stream"] = {"schema": {"type": "string", "description": event}}
    if operation.request is not None:
        found["headers"] = {
            WARNING_HEADER.decode(): {
                "description": "What was ignored in the request.",
                "schema": {"type": "string"},
            }
        }
    return found


def _error(status: int) -> dict[str, Any]:
    codes = sorted({error.code for error in _error_types() if error.status == status and error.code is not None})
    return {
        "description": f"An error with one of the codes {', '.join(codes)}",
        "content": {_JSON: {"schema": _reference(answers.ErrorAnswer)}},
    }


def _error_types(base: type[PennyweightError] = PennyweightError) -> Iterator[type[PennyweightError]]:
    yield base
    for below in base.__subclasses__():
        yield from _error_types(below)


def _reference(shape: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": _COMPONENTS.format(name=shape.__name__)}


def _description(shape: type[msgspec.Struct]) -> str:
    return _as_markdown((shape.__doc__ or "").strip())


def _schemas() -> dict[str, Any]:
    shapes: list[type[msgspec.Struct]] = [answers.ErrorAnswer]
    for operation in OPERATIONS:
        shapes.extend(shape for shape in (operation.request, operation.answer, operation.chunk) if shape is not None)
    _, schemas = msgspec.json.schema_components(shapes, ref_template=_COMPONENTS)
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = _as_markdown(schema["description"])
    return dict(sorted(schemas.items()))


def _as_markdown(text: str) -> str:
    return text.replace("``", "`")
