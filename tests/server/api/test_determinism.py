"""How a request asks for a mode of determinism, and how its answer says which it was given in; through the whole server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from fakes.live_server import CHAT, LiveEngine, LiveServer, live_server

from pennyweight.server.types import Determinism

HEADER = "x-pennyweight-deterministic"
SEEDED: dict[str, Any] = {"determinism": Determinism.SEEDED, "variance": "it rains"}


@pytest_asyncio.fixture
async def server() -> AsyncIterator[LiveServer]:
    engine = LiveEngine(more=SEEDED)
    engine.loaded.set()
    async with live_server(engine, http={"cors_origins": ("https://a.example",)}) as found:
        yield found


async def ask(
    server: LiveServer, path: str = "/v1/chat/completions", *, header: str | None = None, **fields: Any
) -> tuple[int, Any, str | None]:
    """Status, body and the answer's header."""
    body = {**(CHAT if "chat" in path else {"model": "scripted", "prompt": ["a", "b"]}), **fields}
    headers = {} if header is None else {HEADER: header}
    async with server.client.post(path, json=body, headers=headers) as answer:
        read = await answer.json() if answer.content_type == "application/json" else None
        return answer.status, read, answer.headers.get(HEADER)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_answer_s_header_says_which_mode_was_honoured(server: LiveServer, path: str, stream: bool) -> None:
    for given in (
        {},
        {"deterministic": "off"},
        {"deterministic": False},
        {"deterministic": "seeded"},
        {"header": "Seeded"},
    ):
        status, _, told = await ask(server, path, stream=stream, **given)
        assert (status, told) == (200, "seeded")


@pytest.mark.parametrize("given", [{"deterministic": True}, {"deterministic": "bitwise"}, {"header": "true"}])
async def test_a_mode_that_cannot_be_honoured_is_refused_with_the_reason(
    server: LiveServer, given: dict[str, Any]
) -> None:
    status, body, told = await ask(server, **given)
    assert (status, told) == (400, None)
    assert (body["error"]["param"], body["error"]["code"]) == ("deterministic", "unsupported_parameter")
    assert "at most as 'seeded': it rains" in body["error"]["message"]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"deterministic": "very"}, "deterministic"),
        ({"deterministic": 1}, "deterministic"),
        ({"header": "very"}, HEADER),
        ({"header": ""}, HEADER),
        ({"deterministic": "off", "header": "seeded"}, "deterministic"),
        ({"logits_hashes": "yes"}, "logits_hashes"),
    ],
)
async def test_what_is_no_mode_is_named(server: LiveServer, given: dict[str, Any], param: str) -> None:
    status, body, _ = await ask(server, **given)
    assert (status, body["error"]["param"]) == (400, param)


async def test_pages_of_other_origins_may_read_the_header(server: LiveServer) -> None:
    async with server.client.post("/v1/chat/completions", json=CHAT, headers={"origin": "https://a.example"}) as answer:
        assert HEADER in answer.headers["access-control-expose-headers"]


async def test_a_model_tells_its_modes_and_its_manifest(server: LiveServer) -> None:
    async with server.client.get("/v1/models/scripted") as answer:
        found = await answer.json()
    assert found["deterministic"] == {"mode": "seeded", "default": "off", "limit": "it rains"}
    assert found["numerics"] is None


async def test_bytes_that_were_asked_before_are_read_again_under_a_header() -> None:
    """A kept answer is found by a body's bytes alone, which say nothing of the header."""
    engine = LiveEngine(more=SEEDED)
    engine.loaded.set()
    async with live_server(engine, response_cache={"max_bytes": 1 << 20}) as server:
        for _ in range(4):
            status, _, told = await ask(server, temperature=0)
            assert (status, told) == (200, "seeded")
        assert len(engine.left) == 1
        assert (await ask(server, temperature=0, header="bitwise"))[0] == 400
