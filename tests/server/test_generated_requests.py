"""Requests that schemathesis makes of the OpenAPI document: none may break the server, and every answer is as described."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
import requests
import schemathesis
from fakes.live_server import CHAT, live_server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pennyweight.server.api.openapi import OPERATIONS, Operation
from pennyweight.server.config import ModelSettings, TierSettings

NUM_REQUESTS = 80
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
# What is right by itself, for parameters to be added to.
BODIES: dict[str, dict[str, Any]] = {
    "createChatCompletion": CHAT,
    "createCompletion": {"model": "scripted", "prompt": "Hi"},
    "createEmbedding": {"model": "scripted", "input": "Hi"},
    "tokenize": {"messages": CHAT["messages"]},
    "detokenize": {"tokens": [72, 105]},
    "explainRoute": CHAT | {"model": "auto"},
}
# So that there is a route to explain.
ROUTED = {"models": {"scripted": ModelSettings()}, "tiers": {"only": TierSettings(models=("scripted",))}}
BY_ID = {operation.id: operation for operation in OPERATIONS}


def test_every_operation_with_a_body_is_tried() -> None:
    assert BODIES.keys() == {operation.id for operation in OPERATIONS if operation.request is not None}


@pytest.mark.slow
@pytest.mark.parametrize("id", BODIES)
async def test_requests_as_described_are_answered_as_described(id: str) -> None:
    statuses = await answers_to(BY_ID[id], GenerationMode.POSITIVE)
    # Parameters may contradict each other, which no schema tells.
    assert statuses.keys() <= {200, 400}
    assert statuses[200] >= NUM_REQUESTS // 8, statuses


@pytest.mark.slow
@pytest.mark.parametrize("id", BODIES)
async def test_requests_not_as_described_are_refused(id: str) -> None:
    assert (await answers_to(BY_ID[id], GenerationMode.NEGATIVE)).keys() == {400}


async def test_any_name_may_be_asked_for_among_the_models() -> None:
    assert (await answers_to(BY_ID["retrieveModel"], GenerationMode.POSITIVE)).keys() == {404}


async def answers_to(operation: Operation, mode: GenerationMode) -> Counter[int]:
    """The statuses of the answers to generated requests, all of which have passed the checks."""
    async with live_server(sections=ROUTED) as server:
        async with server.client.get("/openapi.json") as answer:
            document = await answer.json()
        statuses = await asyncio.to_thread(send_generated, server.url, document, operation, mode)
        assert not server.log("unexpected error")
    return statuses


def send_generated(url: str, document: dict[str, Any], operation: Operation, mode: GenerationMode) -> Counter[int]:
    """The same from a thread, for schemathesis' client blocks."""
    names = ["-"]
    is_positive = mode is GenerationMode.POSITIVE
    if is_positive and operation.request is not None:
        names = sorted(operation.request.__struct_encode_fields__)
        # Any other name is answered by 404 and tells no more.
        document["components"]["schemas"][operation.request.__name__]["properties"]["model"] = {
            "const": BODIES[operation.id].get("model", "scripted")
        }
    described = schemathesis.openapi.from_dict(document)[operation.path][operation.method]
    statuses: Counter[int] = Counter()

    @settings(
        max_examples=NUM_REQUESTS,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        described.as_strategy(generation_mode=mode),
        # What is drawn depends on what is imported: two ways to few names, so that enough requests are good ones in any case.
        st.none() | st.sets(st.sampled_from(names), max_size=3) | st.sets(st.sampled_from(names), max_size=1),
    )
    def check(case: Case[Any], added: set[str] | None) -> None:
        if is_positive and operation.request is not None:
            body = with_integers(case.body)
            # Few of them at a time: all at once contradict each other somewhere.
            few = body if added is None else {name: body[name] for name in added & body.keys()}
            case.body = few if added is None else BODIES[operation.id] | few
        response = case.call(base_url=url, session=session)
        statuses[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    with requests.Session() as session:
        check()
    return statuses


def with_integers(value: Any) -> Any:
    """Whole numbers as integers: to JSON Schema 1.0 is one, here as in most languages it is not."""
    match value:
        case dict():
            return {name: with_integers(item) for name, item in value.items()}
        case list():
            return [with_integers(item) for item in value]
        case float() if value.is_integer():
            return int(value)
    return value
