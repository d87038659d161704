"""The OpenAPI document, held against the routes, and real answers held against the document's types."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from fakes.live_server import CHAT, LiveServer, live_server
from fakes.server_process import MODEL

from pennyweight.server.api import answer_types as answers
from pennyweight.server.api.openapi import OPERATIONS, openapi_document

COMPLETION = {"model": "scripted", "prompt": "Hi"}


@pytest.fixture
async def server() -> AsyncIterator[LiveServer]:
    async with live_server() as running:
        yield running


async def test_every_operation_is_answered_and_every_route_described(server: LiveServer) -> None:
    for operation in OPERATIONS:
        path = operation.path.replace("{model}", "scripted")
        async with server.client.request(operation.method, path, json={} if operation.request else None) as answer:
            assert answer.status in (200, 400), operation.path
    async with server.client.get("/openapi.json") as answer:
        described = (await answer.json())["paths"].keys()
    assert described == {operation.path for operation in OPERATIONS}


def test_references_lead_somewhere_and_ids_are_unique() -> None:
    document = openapi_document(version="1", needs_api_key=True)
    text = json.dumps(document)
    wanted = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert wanted <= document["components"]["schemas"].keys()
    ids = [operation.id for operation in OPERATIONS]
    assert len(set(ids)) == len(ids)
    assert document["paths"]["/v1/models"]["get"]["security"] == [{"key": []}]
    assert "security" not in document["paths"]["/health"]["get"]
    assert "components" in document
    assert "401" not in openapi_document(version="1", needs_api_key=False)["paths"]["/v1/models"]["get"]["responses"]


@pytest.mark.parametrize(
    ("method", "path", "body", "shape"),
    [
        ("post", "/v1/chat/completions", CHAT, answers.ChatCompletion),
        ("post", "/v1/chat/completions", CHAT | {"logprobs": True, "top_logprobs": 1}, answers.ChatCompletion),
        ("post", "/v1/chat/completions", CHAT | {"n": -1}, answers.ErrorAnswer),
        ("post", "/v1/completions", COMPLETION, answers.Completion),
        ("post", "/v1/completions", {"prompt": "Hi"}, answers.ErrorAnswer),
        ("get", "/v1/models", None, answers.ModelList),
        ("get", "/v1/models/scripted", None, answers.Model),
        ("get", "/v1/models/none", None, answers.ErrorAnswer),
        ("post", "/tokenize", {"prompt": "Hi"}, answers.Tokens),
        ("post", "/detokenize", {"tokens": [1]}, answers.DetokenizedText),
        ("get", "/health", None, answers.Liveness),
        ("get", "/ready", None, answers.Readiness),
        ("get", "/version", None, answers.Version),
        ("get", "/openapi.json", None, answers.OpenAPIDocument),
    ],
)
async def test_answers_are_of_their_type(server: LiveServer, method: str, path: str, body: Any, shape: Any) -> None:
    async with server.client.request(method, path, json=body) as answer:
        msgspec.json.decode(await answer.read(), type=shape)


@pytest.mark.parametrize(
    ("path", "body", "shape"),
    [
        ("/v1/chat/completions", CHAT, answers.ChatCompletionChunk),
        ("/v1/completions", COMPLETION, answers.Completion),
    ],
)
@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
async def test_events_are_of_their_type(
    server: LiveServer, path: str, body: dict[str, Any], shape: Any, options: dict[str, Any]
) -> None:
    async with server.client.post(path, json=body | {"stream": True} | options) as answer:
        lines = (await answer.read()).split(b"\n\n")
    assert lines[-2:] == [b"data: [DONE]", b""]
    for line in lines[:-2]:
        msgspec.json.decode(line.removeprefix(b"data: "), type=shape)


def test_the_default_model_is_in_no_document() -> None:
    assert MODEL not in json.dumps(openapi_document(version="1", needs_api_key=False))
