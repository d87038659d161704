"""The OpenAPI document, held against the routes, and real answers held against the document's types."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import schemathesis
from fakes.live_server import CHAT, LiveEngine, LiveServer, live_server
from fakes.scripted_engine import Step, logprob, says
from fakes.server_process import MODEL
from jsonschema import Draft202012Validator
from starlette.routing import Route

from pennyweight.server.api import answer_types as answers
from pennyweight.server.api.openapi import OPERATIONS, openapi_document
from pennyweight.server.app import create_app
from pennyweight.server.config import Settings
from pennyweight.server.errors import EngineDead
from pennyweight.server.types import Delta, FinishReason, Request

COMPLETION = {"model": "scripted", "prompt": "Hi"}
EMBEDDING = {"model": "scripted", "input": ["Hi", "Ho"]}
TOOLS = [{"type": "function", "function": {"name": "time"}}]
NAMED = {"type": "function", "function": {"name": "time"}}


def has_everything(request: Request) -> list[Step]:
    """Tokens with the logprobs that were asked for, the second of them no text of its own, and a stop string's end."""
    wanted = request.sampling.logprobs
    steps: list[Step] = [
        Delta(
            index=index,
            text=text,
            token_ids=(1,),
            logprobs=() if wanted is None else (logprob(token, -float("inf") if text == "" else -0.5, wanted),),
        )
        for token, text in (("Hello", "Hello"), ("é", ""), ("!", "é!"))
        for index in range(request.sampling.n)
    ]
    ends = (
        Delta(index=index, text="", finish_reason=FinishReason.STOP, stop_reason=("END", 7)[index % 2])
        for index in range(request.sampling.n)
    )
    return [*steps, *ends]


def breaks_off(request: Request) -> list[Step]:
    """The engine dies after a first word."""
    return [says("Hello")[0], EngineDead("The engine died.")]


@pytest.fixture
async def server() -> AsyncIterator[LiveServer]:
    async with live_server(LiveEngine(has_everything)) as running:
        yield running


async def test_every_operation_is_answered(server: LiveServer) -> None:
    for operation in OPERATIONS:
        path = operation.path.replace("{model}", "scripted")
        async with server.client.request(operation.method, path, json={} if operation.request else None) as answer:
            assert answer.status in (200, 400), operation.path
    async with server.client.get("/openapi.json") as answer:
        assert (await answer.json()).keys() == openapi_document(version="1", needs_api_key=False).keys()


def test_every_route_is_described_and_no_other() -> None:
    routes = [route for route in create_app(Settings(), {}).routes if isinstance(route, Route)]
    # Starlette answers HEAD wherever it answers GET.
    answered = {(route.path_format, method) for route in routes for method in (route.methods or set()) - {"HEAD"}}
    assert {(operation.path, operation.method.upper()) for operation in OPERATIONS} == answered
    assert len(routes) == len(OPERATIONS)


@pytest.mark.parametrize("needs_api_key", [False, True])
def test_the_document_is_valid(needs_api_key: bool) -> None:
    document = openapi_document(version="1", needs_api_key=needs_api_key)
    schemathesis.openapi.from_dict(json.loads(json.dumps(document))).validate()
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


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
        ("post", "/v1/chat/completions", CHAT | {"n": 2, "prompt_logprobs": 2}, answers.ChatCompletion),
        ("post", "/v1/chat/completions", CHAT | {"logprobs": True, "top_logprobs": 2}, answers.ChatCompletion),
        ("post", "/v1/chat/completions", CHAT | {"n": -1}, answers.ErrorAnswer),
        ("post", "/v1/completions", COMPLETION, answers.Completion),
        ("post", "/v1/completions", COMPLETION | {"prompt": ["Hi", "Ho"], "n": 2, "logprobs": 0}, answers.Completion),
        ("post", "/v1/completions", COMPLETION | {"echo": True, "logprobs": 2}, answers.Completion),
        ("post", "/v1/completions", COMPLETION | {"prompt_logprobs": 2}, answers.Completion),
        ("post", "/v1/completions", {"prompt": "Hi"}, answers.ErrorAnswer),
        ("post", "/v1/embeddings", EMBEDDING, answers.EmbeddingList),
        ("post", "/v1/embeddings", EMBEDDING | {"encoding_format": "base64"}, answers.EmbeddingList),
        ("post", "/v1/embeddings", EMBEDDING | {"input": []}, answers.ErrorAnswer),
        ("get", "/v1/models", None, answers.ModelList),
        ("get", "/v1/models/scripted", None, answers.DescribedModel),
        ("get", "/v1/models/none", None, answers.ErrorAnswer),
        ("post", "/v1/models", {}, answers.ErrorAnswer),
        ("get", "/none", None, answers.ErrorAnswer),
        ("post", "/tokenize", {"prompt": "Hi"}, answers.Tokens),
        ("post", "/tokenize", {"messages": CHAT["messages"], "return_token_strs": True}, answers.Tokens),
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
    ("choice", "text"),
    [
        ("auto", 'Wait.<tool_call>{"name": "time", "arguments": {"zone": 1}}</tool_call>' * 2),
        ("required", '[{"name": "time", "parameters": {"zone": 1}}]'),
        (NAMED, '{"zone": 1}'),
    ],
)
async def test_answers_with_tool_calls_are_of_their_type(choice: Any, text: str) -> None:
    body = CHAT | {"tools": TOOLS, "tool_choice": choice, "n": 2}
    async with live_server(LiveEngine(lambda request: says(*text))) as server:
        async with server.client.post("/v1/chat/completions", json=body) as answer:
            whole = msgspec.json.decode(await answer.read(), type=answers.ChatCompletion)
        events = await events_of(server, "/v1/chat/completions", body)
    assert all(one.message.tool_calls and one.finish_reason == "tool_calls" for one in whole.choices)
    chunks = [msgspec.json.decode(event, type=answers.ChatCompletionChunk) for event in events]
    assert {one.index for chunk in chunks for one in chunk.choices if one.delta.tool_calls} == {0, 1}


@pytest.mark.parametrize(
    ("path", "body", "shape"),
    [
        ("/v1/chat/completions", CHAT | {"n": 2}, answers.ChatCompletionChunk),
        ("/v1/chat/completions", CHAT | {"logprobs": True, "top_logprobs": 2}, answers.ChatCompletionChunk),
        ("/v1/completions", COMPLETION | {"prompt": ["Hi", "Ho"], "n": 2}, answers.Completion),
        ("/v1/completions", COMPLETION | {"echo": True, "logprobs": 2}, answers.Completion),
    ],
)
@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
async def test_events_are_of_their_type(
    server: LiveServer, path: str, body: dict[str, Any], shape: Any, options: dict[str, Any]
) -> None:
    for event in await events_of(server, path, body | options):
        msgspec.json.decode(event, type=shape)


@pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/completions", COMPLETION)])
async def test_the_error_that_ends_a_stream_is_of_its_type(path: str, body: dict[str, Any]) -> None:
    async with (
        live_server(LiveEngine(breaks_off)) as server,
        server.client.post(path, json=body | {"stream": True}) as answer,
    ):
        *_, last, end = (await answer.read()).split(b"\n\n")
    assert end == b""
    told = msgspec.json.decode(last.removeprefix(b"data: "), type=answers.ErrorAnswer)
    assert told.error.code == EngineDead.code


async def test_a_server_that_is_loading_tells_so_as_described() -> None:
    async with live_server(loaded=False) as server:
        async with server.client.get("/ready") as answer:
            assert answer.status == 503
            told = msgspec.json.decode(await answer.read(), type=answers.Readiness)
        server.engine.loaded.set()
    assert [model.state for model in told.models.values()] == ["loading"]


async def events_of(server: LiveServer, path: str, body: dict[str, Any]) -> list[bytes]:
    """The JSON of a whole stream's events."""
    async with server.client.post(path, json=body | {"stream": True}) as answer:
        lines = (await answer.read()).split(b"\n\n")
    assert lines[-2:] == [b"data: [DONE]", b""]
    return [line.removeprefix(b"data: ") for line in lines[:-2]]


def test_the_default_model_is_in_no_document() -> None:
    assert MODEL not in json.dumps(openapi_document(version="1", needs_api_key=False))
