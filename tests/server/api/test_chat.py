"""Chat completions through the endpoint, with an engine that says what it is told to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.api_client import Reply, ask, make_call
from fakes.scripted_engine import ScriptedEngine, logprob, says

from pennyweight.server.api.chat import create_chat_completion
from pennyweight.server.api.exchange import StreamAnswer
from pennyweight.server.config import LimitSettings
from pennyweight.server.errors import ContextLengthExceeded, EngineDead, Overloaded
from pennyweight.server.types import ChatPrompt, ConstraintKind, Delta, FinishReason, Request

USER = {"role": "user", "content": "Hi"}


async def chat(engine: ScriptedEngine | None = None, *, limits: LimitSettings | None = None, **fields: Any) -> Reply:
    return await ask(create_chat_completion, {"model": "scripted", "messages": [USER], **fields}, engine, limits=limits)


async def understood(**fields: Any) -> Request:
    """The request that an engine gets."""
    engine = ScriptedEngine()
    reply = await chat(engine, **fields)
    assert reply.status == 200, reply.json
    return engine.left[0].request


async def refused(limits: LimitSettings | None = None, **fields: Any) -> dict[str, Any]:
    engine = ScriptedEngine()
    reply = await chat(engine, limits=limits, **fields)
    assert reply.status == 400
    assert not engine.left
    return reply.error


async def test_whole_answer_has_openais_shape() -> None:
    reply = await chat()
    assert reply.status == 200
    assert reply.json.pop("created") > 0
    assert reply.json == {
        "id": "chatcmpl-r1",
        "object": "chat.completion",
        "model": "scripted",
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello world", "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 8,
            "completion_tokens": 2,
            "total_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
    }


@pytest.mark.parametrize("n", [1, 3])
async def test_stream_says_role_and_reason_once_per_choice(n: int) -> None:
    reply = await chat(stream=True, n=n)
    assert reply.is_done
    for index in range(n):
        chunks = reply.chunks(index)
        assert [i for i, chunk in enumerate(chunks) if "role" in chunk["delta"]] == [0]
        assert [i for i, chunk in enumerate(chunks) if chunk["finish_reason"]] == [len(chunks) - 1]
        assert chunks[-1]["finish_reason"] == "stop"
        assert reply.content(index) == "Hello world"
    assert len({event["id"] for event in reply.events}) == 1
    assert all(event["object"] == "chat.completion.chunk" for event in reply.events)
    assert all("usage" not in event for event in reply.events)


async def test_stream_tells_usage_in_a_last_chunk_without_choices_when_asked() -> None:
    reply = await chat(stream=True, stream_options={"include_usage": True})
    assert reply.is_done
    *others, last = reply.events
    assert all(event["usage"] is None and event["choices"] for event in others)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 10


async def test_choices_are_told_apart() -> None:
    def script(request: Request) -> list[Delta]:
        return [
            Delta(index=1, text="one", token_ids=(1,)),
            Delta(index=0, text="zero", token_ids=(1,), finish_reason=FinishReason.LENGTH),
            Delta(index=1, text="!", token_ids=(1,), finish_reason=FinishReason.STOP, stop_reason="x"),
        ]

    reply = await chat(ScriptedEngine(script), n=2)
    first, second = reply.json["choices"]
    assert (first["message"]["content"], first["finish_reason"]) == ("zero", "length")
    assert (second["message"]["content"], second["finish_reason"], second["stop_reason"]) == ("one!", "stop", "x")
    reply = await chat(ScriptedEngine(script), n=2, stream=True)
    assert (reply.content(0), reply.content(1)) == ("zero", "one!")
    assert reply.chunks(1)[-1]["stop_reason"] == "x"


async def test_logprobs_are_the_same_whole_and_streamed() -> None:
    def script(request: Request) -> list[Delta]:
        held_back = Delta(index=0, text="", token_ids=(65,), logprobs=(logprob("A", alternatives=2),))
        return [held_back, Delta(index=0, text="AB", logprobs=(logprob("B", -float("inf")),)), *says()]

    whole = await chat(ScriptedEngine(script), logprobs=True, top_logprobs=2)
    entries = whole.json["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in entries] == ["A", "B"]
    assert entries[0] == {
        "token": "A",
        "logprob": -0.5,
        "bytes": [65],
        "top_logprobs": [
            {"token": "a", "logprob": -0.5, "bytes": [97]},
            {"token": "b", "logprob": -1.5, "bytes": [98]},
        ],
    }
    assert entries[1]["logprob"] == -9999.0
    streamed = await chat(ScriptedEngine(script), logprobs=True, top_logprobs=2, stream=True)
    found = [entry for chunk in streamed.chunks() if chunk["logprobs"] for entry in chunk["logprobs"]["content"]]
    assert found == entries
    assert streamed.content() == "AB"


async def test_prompt_logprobs_have_vllms_shape() -> None:
    first, second, *_ = (await chat(prompt_logprobs=1)).json["prompt_logprobs"]
    assert first is None
    assert second[str(ord("s"))] == {"logprob": -0.5, "rank": None, "decoded_token": "s"}
    assert second["97"]["rank"] == 1


async def test_text_that_is_held_back_makes_no_chunk() -> None:
    engine = ScriptedEngine(lambda request: [Delta(index=0, text="", token_ids=(1,)), *says("ok")])
    reply = await chat(engine, stream=True)
    assert [chunk["delta"] for chunk in reply.chunks()] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "ok"},
        {},
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_refusal_by_the_engine_has_its_status_and_not_a_stream(stream: bool) -> None:
    engine = ScriptedEngine(refusal=lambda request: ContextLengthExceeded("Too long.", param="messages"))
    reply = await chat(engine, stream=stream)
    assert reply.status == 400
    assert reply.error == {
        "message": "Too long.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
    reply = await chat(ScriptedEngine(refusal=lambda request: Overloaded("Full.", retry_after=1.2)), stream=stream)
    assert reply.status == 429
    assert (b"retry-after", b"2") in reply.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_error_before_the_first_text_has_its_status(stream: bool) -> None:
    reply = await chat(ScriptedEngine(lambda request: [EngineDead("Gone.")]), stream=stream)
    assert (reply.status, reply.error["code"]) == (503, "engine_dead")


async def test_error_in_mid_stream_is_one_event_without_done() -> None:
    reply = await chat(ScriptedEngine(lambda request: [*says("a")[:1], EngineDead("Gone.")]), stream=True)
    assert reply.status == 200
    assert not reply.is_done
    assert reply.error["code"] == "engine_dead"
    assert sum("error" in event for event in reply.events) == 1


async def test_bug_in_mid_stream_is_told_without_its_text_and_raised() -> None:
    engine = ScriptedEngine(lambda request: [*says("a")[:1], ZeroDivisionError("secret")])
    answer = await create_chat_completion(make_call({"model": "scripted", "messages": [USER], "stream": True}, engine))
    assert isinstance(answer, StreamAnswer)
    text = await anext(answer.chunks)
    assert b'"content":"a"' in text
    error = json.loads((await anext(answer.chunks)).removeprefix(b"data: "))["error"]
    assert (error["type"], error["code"]) == ("server_error", None)
    assert "secret" not in error["message"]
    with pytest.raises(ZeroDivisionError):
        await anext(answer.chunks)


async def test_unknown_parameters_and_store_are_warned_about() -> None:
    reply = await chat(
        frobnicate=1,
        messages=[{**USER, "mood": "good", "annotations": [], "function_call": None}],
        stream_options=None,
        response_format={"type": "text", "style": "x"},
        store=True,
    )
    assert reply.warning == (
        "unknown parameter(s) ignored: messages[0].mood, frobnicate, response_format.style; "
        "store: true was ignored, for nothing is stored here"
    )
    assert (await chat(store=False, user="me", metadata={"a": "b"}, service_tier="auto")).warning is None
    assert (await chat(stream=True, frobnicate=1)).warning is not None


async def test_unprintable_names_do_not_get_into_the_header() -> None:
    names: dict[str, Any] = {"x\r\nset-cookie: a": 1, "ü": 1}
    reply = await chat(**names)
    assert reply.warning == "unknown parameter(s) ignored: (not printable), (not printable)"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"max_tokens": 5, "min_tokens": 6}, "min_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": 3}, "logprobs"),
        ({"prompt_logprobs": 21}, "prompt_logprobs"),
        ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
        ({"stop": [""]}, "stop[0]"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": "a" * 257}, "stop"),
        ({"stop_token_ids": [1] * 65}, "stop_token_ids"),
        ({"logit_bias": {"+1": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 1, "01": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"metadata": {"a" * 65: "x"}}, "metadata"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "wizard", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{**USER, "function_call": {"name": "f", "arguments": ""}}]}, "messages[0].function_call"),
        ({"best_of": 2}, "best_of"),
        ({"echo": True}, "echo"),
        ({"functions": []}, "functions"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_object"}, "guided_regex": "a"}, "guided_regex"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"chat_template_kwargs": {"temperature": 1}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs"),
        ({"continue_final_message": True}, "continue_final_message"),
        (
            {
                "continue_final_message": True,
                "messages": [
                    USER,
                    {
                        "role": "assistant",
                        "content": "So",
                        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                    },
                ],
            },
            "continue_final_message",
        ),
        ({"continue_final_message": True, "add_generation_prompt": True}, "continue_final_message"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    assert (await refused(**fields))["param"] == param


async def test_schema_over_its_limit_is_refused() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"description": "x" * 100}}}
    error = await refused(LimitSettings(max_schema_bytes=64), response_format=wanted)
    assert error["param"] == "response_format.json_schema.schema"


async def test_unknown_model_is_not_found() -> None:
    reply = await chat(model="gpt-5")
    assert (reply.status, reply.error["code"], reply.error["param"]) == (404, "model_not_found", "model")


async def test_parameters_reach_the_engine() -> None:
    request = await understood(
        max_completion_tokens=7,
        temperature=0.5,
        top_p=0,
        top_k=-1,
        seed=-3,
        stop="x",
        logit_bias={"5": -100},
        logprobs=True,
        priority=-2,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}},
    )
    sampling = request.sampling
    assert (request.id, request.priority, request.arrival) == ("r1", -2, 1.0)
    assert (sampling.max_tokens, sampling.temperature, sampling.top_k, sampling.seed) == (7, 0.5, 0, -3)
    assert 0 < (sampling.top_p or 0) < 1e-5
    assert (sampling.stop, sampling.logit_bias, sampling.logprobs) == (("x",), {5: -100.0}, 0)
    assert sampling.constraint is not None
    assert (sampling.constraint.kind, sampling.constraint.value) == (ConstraintKind.JSON_SCHEMA, '{"type":"integer"}')


async def test_final_message_is_continued() -> None:
    messages = [USER, {"role": "assistant", "content": [{"type": "text", "text": "Once"}]}]
    request = await understood(messages=messages, continue_final_message=True)
    assert isinstance(request.prompt, ChatPrompt)
    assert (request.prompt.continue_final_message, request.prompt.add_generation_prompt) == (True, False)
    assert request.prompt.messages[-1].content == "Once"


async def test_template_kwargs_that_the_template_reads_are_passed_on() -> None:
    request = await understood(chat_template_kwargs={"enable_thinking": False})
    assert isinstance(request.prompt, ChatPrompt)
    assert request.prompt.template_kwargs == {"enable_thinking": False}
