"""Whatever a client sends is answered, or refused with a 4xx in OpenAI's form; nothing ends as an internal error."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fakes.api_client import Reply, ask
from fakes.scripted_engine import ScriptedEngine, logprob, says
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.server.api.chat import create_chat_completion
from pennyweight.server.api.completions import create_completion
from pennyweight.server.api.exchange import Endpoint
from pennyweight.server.api.tokenization import detokenize, tokenize
from pennyweight.server.config import LimitSettings
from pennyweight.server.types import Delta, Request

CHAT: dict[str, Any] = {
    "model": "scripted",
    "messages": [
        {"role": "system", "content": "Be short.", "name": "boss"},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "Does it.",
                "parameters": {"type": "object", "properties": {"x": {"$ref": "#/$defs/y"}}, "$defs": {"y": {}}},
                "strict": True,
            },
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": False,
    "logprobs": True,
    "top_logprobs": 2,
    "chat_template_kwargs": {"enable_thinking": True},
    "stream": True,
    "stream_options": {"include_usage": True},
    "metadata": {"a": "b"},
    "stop": ["x"],
    "logit_bias": {"7": 1.5},
    "seed": 3,
    "n": 2,
    "max_completion_tokens": 5,
    "temperature": 0.5,
    "service_tier": "auto",
}
STRUCTURED: dict[str, Any] = {
    "model": "scripted",
    "messages": [{"role": "user", "content": "Hi"}],
    "prompt_logprobs": 1,
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
}
GUIDED: dict[str, Any] = {
    "model": "scripted",
    "messages": [{"role": "user", "content": "Hi"}],
    "structured_outputs": {"choice": ["a", "b"]},
}
COMPLETION: dict[str, Any] = {
    "model": "scripted",
    "prompt": [[1, 2], [3]],
    "echo": True,
    "logprobs": 1,
    "max_tokens": 0,
    "n": 2,
    "stop_token_ids": [2],
    "guided_regex": "a+",
    "stream": False,
}
TOKENIZE: dict[str, Any] = {"messages": CHAT["messages"], "tools": CHAT["tools"], "return_token_strs": True}
VALID: list[tuple[Endpoint, dict[str, Any]]] = [
    (create_chat_completion, CHAT),
    (create_chat_completion, STRUCTURED),
    (create_chat_completion, GUIDED),
    (create_completion, COMPLETION),
    (tokenize, TOKENIZE),
    (tokenize, {"prompt": "abc", "model": "scripted"}),
    (detokenize, {"tokens": [1, 2], "model": "scripted"}),
]
NAMES = sorted({name for _, body in VALID for name in body} | {"prompt", "store", "min_tokens", "top_k", "best_of"})

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NUMBERS = st.integers() | st.sampled_from([-1, 0, 1, 2**31, 2**63, 2**64, 10**400]) | st.floats(allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS.filter(lambda one: abs(one) != float("inf")) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=8,
)


def script(request: Request) -> list[Delta]:
    texts = ("[", '{"name": "f"', "}", "]")
    return [Delta(index=0, text=text, token_ids=(1,), logprobs=(logprob(text),)) for text in texts] + says()


def check(reply: Reply) -> None:
    """It is an answer, or an error in OpenAI's form."""
    if reply.status == 200:
        assert reply.is_done or reply.json
    else:
        assert reply.status in (400, 404), reply.json
        assert reply.error["type"] == "invalid_request_error"
        assert reply.error["code"]
        assert reply.error["param"] is None or isinstance(reply.error["param"], str)


async def send(endpoint: Endpoint, body: bytes) -> None:
    check(await ask(endpoint, body, ScriptedEngine(script)))


def paths(value: Any) -> Iterator[tuple[str | int, ...]]:
    """The way to each value inside of a JSON value."""
    yield ()
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in below:
        for path in paths(item):
            yield (key, *path)


def replaced(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


@pytest.mark.parametrize(("endpoint", "body"), VALID)
async def test_what_the_mutations_start_from_is_valid(endpoint: Endpoint, body: dict[str, Any]) -> None:
    assert (await ask(endpoint, body, ScriptedEngine(script))).status == 200


@pytest.mark.parametrize("endpoint", [create_chat_completion, create_completion, tokenize, detokenize])
@settings(deadline=None)
@given(body=st.dictionaries(st.sampled_from(NAMES) | TEXT, JSON, max_size=6))
async def test_arbitrary_objects_are_answered_or_refused(endpoint: Endpoint, body: dict[str, Any]) -> None:
    await send(endpoint, json.dumps({"model": "scripted", **body}).encode())


@pytest.mark.parametrize(("endpoint", "body"), VALID)
@settings(deadline=None)
@given(data=st.data())
async def test_changed_values_are_answered_or_refused(endpoint: Endpoint, body: dict[str, Any], data: Any) -> None:
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(list(paths(body))))
        body = replaced(body, path, data.draw(JSON))
    await send(endpoint, json.dumps(body).encode())


@pytest.mark.parametrize(("endpoint", "body"), VALID)
@settings(deadline=None)
@given(data=st.data())
async def test_damaged_bytes_are_answered_or_refused(endpoint: Endpoint, body: dict[str, Any], data: Any) -> None:
    raw = bytearray(json.dumps(body).encode())
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(len(raw), start + 8)))
    raw[start:end] = data.draw(st.binary(max_size=8) | st.sampled_from([b"\\ud800", b"NaN", b"\x00", b'"', b"[" * 99]))
    await send(endpoint, bytes(raw))


HOSTILE: list[bytes] = [
    b'{"model":"scripted","messages":[{"role":"user","content":"\\ud800"}]}',
    b'{"model":"scripted","model":"x","messages":[]}',
    b'{"model":"scripted","messages":' + b"[" * 100_000,
    b'{"model":"scripted","messages":' + b"[" * 65 + b"]" * 65 + b"}",
    b'{"model":"scripted","temperature":NaN,"messages":[{"role":"user","content":""}]}',
    b'{"model":"scripted","temperature":1e400,"messages":[{"role":"user","content":""}]}',
    b'{"model":"scripted","seed":%b,"messages":[{"role":"user","content":""}]}' % (b"9" * 4000),
    b'{"model":"scripted","n":1e2,"messages":[{"role":"user","content":""}]}',
    b'{"model":"scripted","messages":[{"role":"user","content":"\xff"}]}',
    b'{"model":"scripted","messages":{"role":"user","content":"x"}}',
    b'{"model":["scripted"],"messages":[{"role":"user","content":"x"}]}',
    b'{"model":"scripted","messages":[{"role":"user","content":"x"}],"logit_bias":{"\xd9\xa1":1}}',
    b'{"model":"scripted","messages":[{"role":"user","content":"x"}],"logit_bias":{"%b":1}}' % (b"1" * 5000),
    b'{"model":"scripted","prompt":[[[]]]}',
    b'{"model":"","prompt":"x"}',
    b'{"model":"%b","prompt":"x"}' % (b"m" * 100_000),
    b'{"a":[' + b"0," * 300_000 + b"0]}",
    b'{"%b":1,"%b":1}' % (b"k" * 100_000, b"k" * 100_000),
    b'{"%b":"\\ud800"}' % (b"k" * 100_000),
    b"\xef\xbb\xbf{}",
    b"",
]


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("endpoint", [create_chat_completion, create_completion, tokenize, detokenize])
async def test_hostile_bodies_are_refused(endpoint: Endpoint, body: bytes) -> None:
    reply = await ask(endpoint, body)
    check(reply)
    if reply.status == 200:
        assert endpoint is tokenize
        assert reply.warning, "it does not know the names that are hostile elsewhere"
        return
    assert len(reply.error["message"]) < 1000


async def test_limits_are_settings() -> None:
    body = {"model": "scripted", "messages": [{"role": "user", "content": "x"}] * 3, "n": 2}
    assert (await ask(create_chat_completion, body)).status == 200
    for name, value, param in [("max_messages", 2, "messages"), ("max_n", 1, "n"), ("max_json_values", 4, None)]:
        reply = await ask(create_chat_completion, body, limits=LimitSettings(**{name: value}))
        assert (reply.status, reply.error["param"]) == (400, param)
