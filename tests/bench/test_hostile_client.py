"""The judge of hostile requests lets nothing pass that a server must not answer."""

from __future__ import annotations

import asyncio
import json

import pytest

from pennyweight.bench.hostile.client import Reply, complaint, send
from pennyweight.bench.hostile.requests import KINDS, Attack, attacks

ERROR = {"message": "No.", "type": "invalid_request_error", "param": "n", "code": "invalid_value"}


def reply(status: int, body: object) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply((status,), b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(raw), raw))


def attack(**changes: object) -> Attack:
    values: dict[str, object] = {"kind": "k", "pieces": (b"x",), "params": frozenset({"n"})}
    return Attack(**(values | changes))  # type: ignore[arg-type]


def test_a_refusal_in_openai_s_shape_is_right() -> None:
    assert complaint(attack(), reply(400, {"error": ERROR})) is None


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (500, {"error": ERROR}, "500"),
        (200, {}, "status 200"),
        (404, {"error": ERROR}, "status 404"),
        (400, b"Bad Request", "shape"),
        (400, {"error": "No."}, "shape"),
        (400, {"error": ERROR | {"code": None}}, "shape"),
        (400, {"error": ERROR | {"message": "x" * 3000}}, "shape"),
        (400, {"error": ERROR | {"param": "m"}}, "blames 'm'"),
    ],
)
def test_anything_else_is_complained_about(status: int, body: object, told: str) -> None:
    assert told in (complaint(attack(), reply(status, body)) or "")


def test_no_answer_is_right_only_where_none_is_due() -> None:
    assert complaint(attack(), Reply((), b"")) == "k: no answer"
    assert complaint(attack(in_api=False), Reply((), b"")) is None
    assert complaint(attack(statuses=frozenset()), Reply((), b"")) is None


def test_a_5xx_behind_a_good_answer_is_found_also_where_no_answer_is_due() -> None:
    assert complaint(attack(statuses=frozenset()), Reply((200, 500), b"")) is not None


def test_every_kind_is_made_and_the_same_seed_makes_the_same() -> None:
    assert len(KINDS) >= 40
    first, second, other = (attacks("m", each=2, seed=seed) for seed in (3, 3, 4))
    assert first == second != other
    assert {one.kind for one in first} == set(KINDS)


async def test_a_server_that_breaks_the_connection_is_no_error_of_the_client() -> None:
    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async with await asyncio.start_server(drop, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await send(attack(pieces=(b"x" * 65536,) * 100), "127.0.0.1", port)
    assert found.statuses == ()
    assert (await send(attack(), "127.0.0.1", port)).statuses == ()
