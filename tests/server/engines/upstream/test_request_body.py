"""Requests in the words of OpenAI's API and of vLLM's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pennyweight.server.config import UpstreamSettings
from pennyweight.server.engines.upstream.request_body import path_and_body
from pennyweight.server.errors import InvalidConstraint
from pennyweight.server.types import (
    ChatPrompt,
    Constraint,
    ConstraintKind,
    Message,
    Prompt,
    Request,
    SamplingParams,
    TextPrompt,
    TokensPrompt,
    Tool,
    ToolCall,
    ToolChoice,
)

HI = Message(role="user", content="Hi")
CHAT = ChatPrompt(messages=(HI,))
TOOLS = (Tool(name="a", strict=True), Tool(name="b", description="B", parameters={"type": "object"}))
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


def body(prompt: Prompt = CHAT, *, priority: int = 0, upstream: dict[str, Any] | None = None, **sampling: Any) -> Any:
    request = Request(id="r", model="asked", prompt=prompt, sampling=SamplingParams(**sampling), priority=priority)
    path, encoded = path_and_body(request, UpstreamSettings(base_url="http://x/v1", **(upstream or {})))
    assert path == ("/chat/completions" if isinstance(prompt, ChatPrompt) else "/completions")
    return json.loads(encoded)


VLLM = {"dialect": "vllm"}


@pytest.mark.parametrize("dialect", ["openai", "vllm"])
def test_what_is_not_asked_for_is_not_sent(dialect: str) -> None:
    upstream = {"dialect": dialect}
    assert body(upstream=upstream) == {"model": "asked", "messages": [{"role": "user", "content": "Hi"}], **STREAMED}
    assert body(TextPrompt(text="a"), upstream=upstream) == {"model": "asked", "prompt": "a", **STREAMED}


def test_openais_parameters() -> None:
    sent = body(
        n=2,
        max_tokens=9,
        temperature=0.0,
        top_p=0.5,
        seed=0,
        stop=("x",),
        presence_penalty=1.0,
        frequency_penalty=-1.0,
        logit_bias={5: -100.0},
        logprobs=0,
        # Neutral, and so nothing that OpenAI would have to know.
        top_k=0,
        min_p=0.0,
        repetition_penalty=1.0,
    )
    assert sent == {
        "model": "asked",
        "messages": [{"role": "user", "content": "Hi"}],
        "n": 2,
        "max_completion_tokens": 9,
        "temperature": 0.0,
        "top_p": 0.5,
        "seed": 0,
        "stop": ["x"],
        "presence_penalty": 1.0,
        "frequency_penalty": -1.0,
        "logit_bias": {"5": -100.0},
        "logprobs": True,
        "top_logprobs": 0,
        **STREAMED,
    }


def test_vllms_parameters() -> None:
    sent = body(
        TokensPrompt(token_ids=(1, 2)),
        upstream=VLLM,
        priority=-2,
        max_tokens=9,
        logprobs=3,
        top_k=0,
        min_p=0.0,
        repetition_penalty=1.0,
        min_tokens=1,
        stop_token_ids=(4,),
        include_stop_str_in_output=True,
        ignore_eos=True,
        skip_special_tokens=False,
    )
    assert sent == {
        "model": "asked",
        "prompt": [1, 2],
        "max_tokens": 9,
        "logprobs": 3,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "min_tokens": 1,
        "stop_token_ids": [4],
        "include_stop_str_in_output": True,
        "ignore_eos": True,
        "skip_special_tokens": False,
        "priority": -2,
        **STREAMED,
    }
    assert body(upstream=VLLM, max_tokens=9)["max_tokens"] == 9


def test_the_operators_own_words_come_last() -> None:
    sent = body(upstream={"model": "theirs", "parameters": {"temperature": 0.1, "provider": "x"}}, temperature=1.0)
    assert (sent["model"], sent["temperature"], sent["provider"]) == ("theirs", 0.1, "x")


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice(), {}),
        (ToolChoice(mode="none"), {"tool_choice": "none"}),
        (ToolChoice(mode="required", parallel=False), {"tool_choice": "required", "parallel_tool_calls": False}),
        (
            ToolChoice(mode="required", name="a"),
            {"tool_choice": {"type": "function", "function": {"name": "a"}}},
        ),
    ],
)
def test_tools(choice: ToolChoice, sent: dict[str, Any]) -> None:
    found = body(ChatPrompt(messages=(HI,), tools=TOOLS, tool_choice=choice))
    assert found["tools"] == [
        {"type": "function", "function": {"name": "a", "strict": True}},
        {"type": "function", "function": {"name": "b", "description": "B", "parameters": {"type": "object"}}},
    ]
    names = ("tool_choice", "parallel_tool_calls")
    assert {name: found[name] for name in names if name in found} == sent
    assert not {"tool_choice", "parallel_tool_calls"} & body(ChatPrompt(messages=(HI,), tool_choice=choice)).keys()


def test_messages() -> None:
    messages = (
        Message(role="user", content="Hi", name="me"),
        Message(role="assistant", content=None, tool_calls=(ToolCall(id="c", name="a", arguments="{}"),)),
        Message(role="tool", content="42", tool_call_id="c"),
    )
    assert body(ChatPrompt(messages=messages))["messages"] == [
        {"role": "user", "content": "Hi", "name": "me"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "a", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "42", "tool_call_id": "c"},
    ]


@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        (ConstraintKind.JSON_OBJECT, "", {"response_format": {"type": "json_object"}}),
        (
            ConstraintKind.JSON_SCHEMA,
            '{"type": "object"}',
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "response", "strict": True, "schema": {"type": "object"}},
                }
            },
        ),
        (ConstraintKind.REGEX, "a+", {"structured_outputs": {"regex": "a+"}}),
        (ConstraintKind.CHOICE, '["a", "b"]', {"structured_outputs": {"choice": ["a", "b"]}}),
        (ConstraintKind.GRAMMAR, "start: /a/", {"structured_outputs": {"grammar": "start: /a/"}}),
    ],
)
def test_constraints(kind: ConstraintKind, value: str, sent: dict[str, Any]) -> None:
    found = body(upstream=VLLM, constraint=Constraint(kind=kind, value=value))
    assert {name: found[name] for name in ("response_format", "structured_outputs") if name in found} == sent


def test_a_schema_that_is_no_json_is_refused_under_its_name() -> None:
    with pytest.raises(InvalidConstraint) as caught:
        body(constraint=Constraint(kind=ConstraintKind.JSON_SCHEMA, value="{", param="guided_json"))
    assert caught.value.param == "guided_json"
