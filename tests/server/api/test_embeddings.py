"""Embeddings through the endpoint, with an engine whose vectors tell an input's length."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from fakes.api_client import Reply, ask
from fakes.scripted_engine import ScriptedEngine

from pennyweight.server.api.embeddings import create_embedding
from pennyweight.server.api.exchange import NoObserver
from pennyweight.server.config import LimitSettings
from pennyweight.server.errors import EngineFailed
from pennyweight.server.types import Embeddings, EmbedRequest, Request, TextPrompt, TokensPrompt


class Told(NoObserver):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def submitted(self, request: Request | EmbedRequest) -> None:
        self.calls.append("submitted")

    def embedded(self, request: EmbedRequest, embeddings: Embeddings) -> None:
        self.calls.append("embedded")

    def failed(self, request: Request | EmbedRequest, error: BaseException) -> None:
        self.calls.append("failed")


async def embed(engine: ScriptedEngine | None = None, *, limits: LimitSettings | None = None, **fields: Any) -> Reply:
    return await ask(create_embedding, {"model": "scripted", "input": "abc", **fields}, engine, limits=limits)


async def test_the_answer_has_openais_shape() -> None:
    reply = await embed(input=["abc", "de"])
    assert reply.json == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [4.0, 1.0]},
            {"object": "embedding", "index": 1, "embedding": [3.0, 1.0]},
        ],
        "model": "scripted",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }


async def test_base64_is_of_little_endian_float32() -> None:
    reply = await embed(encoding_format="base64")
    assert struct.unpack("<2f", base64.b64decode(reply.json["data"][0]["embedding"])) == (4.0, 1.0)


@pytest.mark.parametrize(
    ("given", "wanted", "is_list"),
    [
        ("ab", (TextPrompt(text="ab"),), False),
        (["ab", "c"], (TextPrompt(text="ab"), TextPrompt(text="c")), True),
        ([97, 98], (TokensPrompt(token_ids=(97, 98)),), False),
        ([[97], [98, 99]], (TokensPrompt(token_ids=(97,)), TokensPrompt(token_ids=(98, 99))), True),
    ],
)
async def test_inputs_come_in_four_forms(given: Any, wanted: Any, is_list: bool) -> None:
    engine = ScriptedEngine()
    assert (await embed(engine, input=given, user="me", dimensions=3)).warning is None
    (request,) = engine.embedded
    assert (request.inputs, request.is_list, request.dimensions) == (wanted, is_list, 3)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": ""}, "input", "invalid_value"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": ["a", ""]}, "input[1]", "invalid_value"),
        ({"input": [[1], []]}, "input[1]", "invalid_value"),
        ({"input": ["a", 1]}, "input", "invalid_type"),
        ({"input": None}, "input", "invalid_type"),
        ({"input": ["a"] * 4}, "input", "invalid_value"),
        ({"encoding_format": "hex"}, "encoding_format", "invalid_value"),
        ({"dimensions": 0}, "dimensions", "invalid_value"),
        ({"user": 1}, "user", "invalid_type"),
        ({"truncate_prompt_tokens": 8}, "truncate_prompt_tokens", "unsupported_parameter"),
        ({"model": "other"}, "model", "model_not_found"),
    ],
)
async def test_what_is_wrong_is_named(fields: dict[str, Any], param: str, code: str) -> None:
    reply = await embed(limits=LimitSettings(max_embedding_inputs=3), **fields)
    assert (reply.error["param"], reply.error["code"]) == (param, code)


async def test_many_token_ids_are_one_input() -> None:
    assert (await embed(limits=LimitSettings(max_embedding_inputs=3), input=[97] * 10)).status == 200


async def test_the_observer_is_told() -> None:
    body = {"model": "scripted", "input": "a"}
    told = Told()
    await ask(create_embedding, body, observer=told)
    assert told.calls == ["submitted", "embedded"]
    told = Told()
    await ask(create_embedding, body, ScriptedEngine(embed_refusal=EngineFailed("No.")), observer=told)
    assert told.calls == ["submitted", "failed"]


async def test_an_unknown_parameter_is_warned_of() -> None:
    assert "input_type" in ((await embed(input_type="query")).warning or "")
