"""Tool calls in chat completions, whole and as the official SDKs join them from a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.api_client import Reply, ask
from fakes.scripted_engine import ScriptedEngine, logprob, says

from pennyweight.server.api.chat import create_chat_completion
from pennyweight.server.config import LimitSettings
from pennyweight.server.engines.base import UPSTREAM_CALLS
from pennyweight.server.types import (
    ChatPrompt,
    ConstraintKind,
    Delta,
    FinishReason,
    Request,
    ToolCallDelta,
    ToolChoice,
)

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TIME = {"type": "function", "function": {"name": "time"}}
NAMED = {"type": "function", "function": {"name": "weather"}}
TWO_CALLS = (
    'Let me see.<tool_call>{"name": "weather", "arguments": {"city": "Bonn"}}</tool_call>'
    '<tool_call>{"name": "time", "arguments": {}}</tool_call>'
)


async def chat(engine: ScriptedEngine, **fields: Any) -> Reply:
    body = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}], "tools": [WEATHER, TIME]}
    return await ask(create_chat_completion, {**body, **fields}, engine)


def writes(text: str, reason: FinishReason = FinishReason.STOP) -> ScriptedEngine:
    """An engine whose answer is a text, token by token of one character."""
    return ScriptedEngine(lambda request: says(*text, reason=reason))


def join_calls(reply: Reply, index: int = 0) -> list[dict[str, Any]]:
    """A streamed choice's calls, joined as an SDK joins them."""
    calls: list[dict[str, Any]] = []
    for choice in reply.chunks(index):
        for piece in choice["delta"].get("tool_calls", []):
            if piece["index"] == len(calls):
                calls.append({"id": piece["id"], "type": piece["type"], "function": dict(piece["function"])})
            else:
                assert piece.keys() == {"index", "function"}
                calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
    return calls


def without_ids(calls: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    assert len({call["id"] for call in calls}) == len(calls)
    assert all(call["type"] == "function" for call in calls)
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


CALLED = [("weather", {"city": "Bonn"}), ("time", {})]


async def test_calls_are_told_from_content() -> None:
    reply = await chat(writes(TWO_CALLS))
    choice = reply.json["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Let me see."
    assert without_ids(choice["message"]["tool_calls"]) == CALLED


async def test_streamed_calls_join_to_the_same() -> None:
    reply = await chat(writes(TWO_CALLS), stream=True, n=2)
    assert reply.is_done
    for index in range(2):
        assert reply.content(index) == "Let me see."
        assert without_ids(join_calls(reply, index)) == CALLED
        chunks = reply.chunks(index)
        assert chunks[0]["delta"] == {"role": "assistant", "content": None, "refusal": None}
        assert [chunk["finish_reason"] for chunk in chunks if chunk["finish_reason"]] == ["tool_calls"]
        pieces = [call for chunk in chunks for call in chunk["delta"].get("tool_calls", [])]
        assert len(pieces) > 10, "arguments come as they are written"


async def test_content_is_null_where_there_are_only_calls() -> None:
    reply = await chat(writes(TWO_CALLS.removeprefix("Let me see.")))
    assert reply.json["choices"][0]["message"]["content"] is None


async def test_plain_answer_stays_one() -> None:
    for stream in (False, True):
        reply = await chat(writes("Just <b>text</b>."), stream=stream)
        choice = reply.chunks()[-1] if stream else reply.json["choices"][0]
        assert choice["finish_reason"] == "stop"
        if stream:
            assert reply.content() == "Just <b>text</b>."
        else:
            assert choice["message"]["content"] == "Just <b>text</b>."
            assert "tool_calls" not in choice["message"]


@pytest.mark.parametrize("text", ["<tool_call>{oops", '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>'])
async def test_malformed_call_comes_back_as_text(text: str) -> None:
    assert (await chat(writes(text))).json["choices"][0]["message"]["content"] == text
    assert (await chat(writes(text), stream=True)).content() == text


async def test_call_that_is_cut_off_says_length() -> None:
    text = '<tool_call>{"name": "weather", "arguments": {"city": "Bo'
    whole = await chat(writes(text, FinishReason.LENGTH))
    assert whole.json["choices"][0]["finish_reason"] == "length"
    streamed = await chat(writes(text, FinishReason.LENGTH), stream=True)
    assert streamed.chunks()[-1]["finish_reason"] == "length"


async def test_only_the_first_call_is_given_where_parallel_calls_are_not_wanted() -> None:
    whole = await chat(writes(TWO_CALLS), parallel_tool_calls=False)
    assert without_ids(whole.json["choices"][0]["message"]["tool_calls"]) == CALLED[:1]
    streamed = await chat(writes(TWO_CALLS), parallel_tool_calls=False, stream=True)
    assert without_ids(join_calls(streamed)) == CALLED[:1]


async def test_auto_tells_the_model_and_forces_nothing() -> None:
    engine = writes("ok")
    await chat(engine)
    request = engine.left[0].request
    assert isinstance(request.prompt, ChatPrompt)
    assert [tool.name for tool in request.prompt.tools] == ["weather", "time"]
    assert request.sampling.constraint is None
    assert request.sampling.skip_special_tokens


async def test_special_tokens_are_kept_where_they_mark_the_calls() -> None:
    engine = ScriptedEngine(lambda request: says("ok"), tool_format="mistral")
    await chat(engine)
    await chat(engine, tool_choice="required")
    assert [left.request.sampling.skip_special_tokens for left in engine.left] == [False, True]


async def test_none_keeps_tools_from_the_model_and_text_from_the_parser() -> None:
    engine = writes(TWO_CALLS)
    reply = await chat(engine, tool_choice="none", response_format={"type": "json_object"})
    request = engine.left[0].request
    assert isinstance(request.prompt, ChatPrompt)
    assert request.prompt.tools == ()
    assert reply.json["choices"][0]["message"]["content"] == TWO_CALLS


@pytest.mark.parametrize("stream", [False, True])
async def test_required_call_is_forced_and_read(stream: bool) -> None:
    engine = writes('[{"name": "weather", "parameters": {"city": "Bonn"}}, {"name": "time", "parameters": {}}]')
    reply = await chat(engine, tool_choice="required", stream=stream)
    constraint = engine.left[0].request.sampling.constraint
    assert constraint is not None
    assert constraint.kind is ConstraintKind.JSON_SCHEMA
    message = None if stream else reply.json["choices"][0]["message"]
    assert without_ids(join_calls(reply) if message is None else message["tool_calls"]) == CALLED
    last = reply.chunks()[-1] if stream else reply.json["choices"][0]
    assert last["finish_reason"] == "tool_calls"


async def test_required_without_parallel_calls_allows_one() -> None:
    engine = writes('[{"name": "time", "parameters": {}}]')
    await chat(engine, tool_choice="required", parallel_tool_calls=False)
    constraint = engine.left[0].request.sampling.constraint
    assert constraint is not None
    assert json.loads(constraint.value)["maxItems"] == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_named_call_is_forced_and_read(stream: bool) -> None:
    engine = writes('{"city": "Bonn"}')
    reply = await chat(engine, tool_choice=NAMED, stream=stream)
    message = None if stream else reply.json["choices"][0]["message"]
    assert without_ids(join_calls(reply) if message is None else message["tool_calls"]) == CALLED[:1]
    if message is not None:
        assert message["content"] is None


async def test_streamed_logprobs_are_all_there() -> None:
    text = '<tool_call>{"name": "time", "arguments": {}}</tool_call>'

    def script(request: Request) -> list[Delta]:
        return [Delta(index=0, text=char, logprobs=(logprob(char),)) for char in text] + says()

    reply = await chat(ScriptedEngine(script), stream=True, logprobs=True)
    tokens = [entry["token"] for chunk in reply.chunks() if chunk["logprobs"] for entry in chunk["logprobs"]["content"]]
    assert "".join(tokens) == text
    assert without_ids(join_calls(reply)) == CALLED[1:]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"tools": None, "tool_choice": NAMED}, "tool_choice.function.name"),
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice.function.name"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "retrieval"}]}, "tools[0].type"),
        ({"tools": [TIME] * 129}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tool_choice": "required", "guided_regex": "a"}, "guided_regex"),
        (
            {
                "tool_choice": "required",
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}],
            },
            "tools[0].function.parameters",
        ),
    ],
)
async def test_what_cannot_be_done_with_tools_is_refused(fields: dict[str, Any], param: str) -> None:
    engine = writes("ok")
    reply = await chat(engine, **fields)
    assert reply.status == 400
    assert reply.error["param"] == param
    assert not engine.left


async def test_tools_of_a_forced_call_are_limited_in_all() -> None:
    wide = {"type": "object", "description": "x" * 100}
    tools = [{"type": "function", "function": {"name": f"f{i}", "parameters": wide}} for i in range(5)]
    body = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}], "tools": tools}
    limits = LimitSettings(max_schema_bytes=300)
    reply = await ask(create_chat_completion, {**body, "tool_choice": "required"}, limits=limits)
    assert (reply.status, reply.error["param"]) == (400, "tools")
    assert (await ask(create_chat_completion, body, limits=limits)).status == 200


READ_UPSTREAM = [
    Delta(index=0, text="Let me see."),
    Delta(index=0, text="", tool_calls=(ToolCallDelta(index=0, id="call_a", name="weather", arguments='{"city"'),)),
    Delta(
        index=0,
        text="",
        tool_calls=(
            ToolCallDelta(index=0, arguments=': "Bonn"}'),
            ToolCallDelta(index=1, id="call_b", name="time", arguments="{}"),
        ),
    ),
    Delta(index=0, text="", finish_reason=FinishReason.STOP),
]


def upstream() -> ScriptedEngine:
    """An engine whose calls are read already."""
    return ScriptedEngine(lambda request: READ_UPSTREAM, tool_format=UPSTREAM_CALLS)


@pytest.mark.parametrize("choice", [None, "auto", "required", NAMED])
async def test_calls_that_an_upstream_has_read_go_through_as_they_are(choice: Any) -> None:
    reply = await chat(upstream(), tool_choice=choice)
    message = reply.json["choices"][0]["message"]
    assert reply.json["choices"][0]["finish_reason"] == "tool_calls"
    assert message["content"] == "Let me see."
    assert without_ids(message["tool_calls"]) == CALLED
    assert [call["id"] for call in message["tool_calls"]] == ["call_a", "call_b"]

    reply = await chat(upstream(), tool_choice=choice, stream=True, n=2)
    for index in range(2):
        assert reply.content(index) == "Let me see."
        assert without_ids(join_calls(reply, index)) == CALLED
        assert reply.chunks(index)[0]["delta"]["content"] is None
        assert reply.chunks(index)[-1]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("wire", "made"),
    [
        ({}, ToolChoice()),
        ({"tool_choice": "none"}, ToolChoice(mode="none")),
        ({"tool_choice": "required", "parallel_tool_calls": False}, ToolChoice(mode="required", parallel=False)),
        ({"tool_choice": NAMED}, ToolChoice(mode="required", name="weather")),
    ],
)
async def test_an_upstream_is_left_to_choose_read_and_force_calls(wire: dict[str, Any], made: ToolChoice) -> None:
    engine = upstream()
    await chat(engine, **wire)
    request = engine.left[0].request
    assert isinstance(request.prompt, ChatPrompt)
    assert request.prompt.tool_choice == made
    assert [tool.name for tool in request.prompt.tools] == ["weather", "time"]
    assert request.sampling.constraint is None
    assert request.sampling.skip_special_tokens


async def test_text_that_looks_like_a_call_is_text_where_an_upstream_reads_the_calls() -> None:
    engine = ScriptedEngine(lambda request: says(TWO_CALLS), tool_format=UPSTREAM_CALLS)
    assert (await chat(engine)).json["choices"][0]["message"]["content"] == TWO_CALLS


async def test_an_upstream_may_have_both_tools_and_a_format() -> None:
    engine = upstream()
    assert (await chat(engine, response_format={"type": "json_object"})).status == 200
    constraint = engine.left[0].request.sampling.constraint
    assert constraint is not None
    assert constraint.kind is ConstraintKind.JSON_OBJECT
