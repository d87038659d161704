"""Chunks made into events: the forms that servers really send, and those that none should."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pennyweight.server.engines.upstream.answer import Answer
from pennyweight.server.engines.upstream.failure import Failure
from pennyweight.server.errors import InvalidRequest, Overloaded, PennyweightError, UpstreamFailed
from pennyweight.server.types import (
    ChatPrompt,
    Delta,
    FinishReason,
    Message,
    Request,
    SamplingParams,
    Started,
    TextPrompt,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    TopLogprob,
)

PROMPT = ChatPrompt(messages=(Message(role="user", content="Hi"),))


def make(prompt: Any = PROMPT, **sampling: Any) -> Answer:
    request = Request(id="r", model="m", prompt=prompt, sampling=SamplingParams(**sampling))
    return Answer(request, fingerprint="fp_ours", hide=lambda text: text.replace("secret", "***"))


def read(answer: Answer, *events: Any) -> list[Delta]:
    """The deltas of events; Started is left out."""
    found = [one for event in events for one in answer.take(json.dumps(event).encode())]
    return [one for one in found if isinstance(one, Delta)]


def choice(index: int = 0, reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}


def failure(event: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        read(make(), event)
    return caught.value


def test_started_comes_with_the_first_token() -> None:
    answer = make()
    assert answer.take(json.dumps(choice(role="assistant", content="")).encode()) == []
    started, delta = answer.take(json.dumps(choice(content="a")).encode())
    assert started == Started(request_id="r", model="m", fingerprint="fp_ours")
    assert delta == Delta(index=0, text="a")


def test_reasoning_is_a_sign_of_life_and_costs_tokens() -> None:
    answer = make()
    assert read(answer, choice(reasoning_content="abcd"), choice(reasoning="efgh")) == []
    assert answer.progress.steps == 2
    read(answer, choice(content="ij", reason="stop"))
    assert answer.finished().usage.completion_tokens == 3


def test_a_refusal_is_text() -> None:
    assert read(make(), choice(refusal="I can't."))[0].text == "I can't."


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("tool_calls", FinishReason.STOP),
        ("eos", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
    ],
)
def test_finish_reasons(wire: str, reason: FinishReason) -> None:
    answer = make()
    assert read(answer, choice(reason=wire))[0].finish_reason is reason
    assert answer.is_whole


@pytest.mark.parametrize("wire", ["abort", "error", "insufficient_system_resource"])
def test_an_answer_that_was_cut_off_is_no_whole_one(wire: str) -> None:
    assert isinstance(failure(choice(reason=wire)).error, UpstreamFailed)


def test_what_comes_after_a_choices_end_is_left_out() -> None:
    answer = make(n=2)
    deltas = read(answer, choice(content="a", reason="stop"), choice(content="b"), choice(reason="stop"))
    assert [delta.text for delta in deltas] == ["a"]
    assert not answer.is_whole
    assert len(read(answer, choice(1, reason="length"))) == 1
    assert answer.is_whole


def test_usage_may_come_with_the_end_or_after_it() -> None:
    usage = {"usage": {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}}}
    answer = make()
    read(answer, choice(reason="stop") | usage)
    assert answer.is_over
    assert answer.finished().usage.cached_tokens == 3  # no more than there are
    answer = make()
    read(answer, choice(reason="stop"))
    assert not answer.is_over
    read(answer, {"choices": []} | usage)
    assert answer.is_over


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 3}])
def test_usage_that_is_not_there_is_estimated_of_all_that_was_sent(usage: Any) -> None:
    call = ToolCall(id="c", name="fn", arguments="{}")
    messages = (Message(role="user", content="x" * 4), Message(role="assistant", content=None, tool_calls=(call,)))
    answer = make(ChatPrompt(messages=messages))
    read(answer, choice(content="x" * 5), choice(reason="stop") | {"usage": usage})
    found = answer.finished().usage
    assert (found.prompt_tokens, found.completion_tokens, found.is_estimated) == (2, 2, True)
    with_tools = make(ChatPrompt(messages=messages, tools=(Tool(name="fn"),))).finished().usage
    assert with_tools.prompt_tokens > 2


def pieces(*calls: dict[str, Any]) -> dict[str, Any]:
    return choice(tool_calls=list(calls))


def test_calls() -> None:
    answer = make()
    deltas = read(
        answer,
        pieces({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
        pieces({"index": 0, "function": {"arguments": '{"x"'}}),
        pieces({"index": 0, "function": {"arguments": ":1}"}}, {"index": 1, "id": "b", "function": {"name": "g"}}),
        choice(reason="tool_calls"),
    )
    assert [call for delta in deltas for call in delta.tool_calls] == [
        ToolCallDelta(index=0, id="a", name="f"),
        ToolCallDelta(index=0, arguments='{"x"'),
        ToolCallDelta(index=0, arguments=":1}"),
        ToolCallDelta(index=1, id="b", name="g"),
    ]


def test_calls_without_numbers_are_told_by_their_ids() -> None:
    deltas = read(
        make(),
        pieces({"id": "a", "function": {"name": "f", "arguments": "{"}}),
        pieces({"function": {"arguments": "}"}}),
        pieces({"id": "b", "function": {"name": "g", "arguments": "{}"}}),
    )
    found = [(call.index, call.name, call.arguments) for delta in deltas for call in delta.tool_calls]
    assert found == [(0, "f", "{"), (0, None, "}"), (1, "g", "{}")]


def test_calls_get_ids_numbers_without_gaps_and_names_before_arguments() -> None:
    deltas = read(
        make(),
        pieces({"index": 5, "function": {"arguments": "{"}}),
        pieces({"index": 5, "function": {"name": "f", "arguments": "}"}}),
        pieces({"index": 5, "id": "late", "function": {"name": "f"}}),
        pieces({"index": 5}),
    )
    (call,) = [call for delta in deltas for call in delta.tool_calls]
    assert (call.index, call.name, call.arguments) == (0, "f", "{}")
    assert call.id is not None
    assert call.id.startswith("call_")


def test_only_the_first_call_where_only_one_was_asked_for() -> None:
    prompt = ChatPrompt(messages=PROMPT.messages, tools=(Tool(name="f"),), tool_choice=ToolChoice(parallel=False))
    wire = [{"index": place, "id": str(place), "function": {"name": "f", "arguments": "{}"}} for place in range(3)]
    (delta,) = read(make(prompt), pieces(*wire))
    assert [call.id for call in delta.tool_calls] == ["0"]


def test_logprobs_of_both_kinds() -> None:
    top = (TopLogprob(token_id=None, token="b", bytes=b"b", logprob=-0.1),)
    chosen = TokenLogprob(token_id=None, token="a", bytes=b"a", logprob=-1.0, top=top)
    alternative = {"token": "b", "logprob": -0.1, "bytes": None}
    content = [{"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": [alternative]}]
    wire = {"choices": [{"delta": {"content": "a"}, "logprobs": {"content": content}}]}
    assert read(make(logprobs=1), wire)[0].logprobs == (chosen,)
    assert read(make(), wire)[0].logprobs == ()

    legacy = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"a": -1.0, "b": -0.1}], "text_offset": [0]}
    wire = {"choices": [{"text": "a", "logprobs": legacy}]}
    assert read(make(TextPrompt(text="x"), logprobs=1), wire)[0].logprobs == (chosen,)


def test_tokens_of_bytes_are_bytes() -> None:
    legacy = {"tokens": ["bytes:\\xf0\\x9f", "x"], "token_logprobs": [None], "top_logprobs": None}
    wire = {"choices": [{"text": "", "logprobs": legacy}]}
    broken, other = read(make(TextPrompt(text="x"), logprobs=0), wire)[0].logprobs
    assert (broken.bytes, broken.logprob) == (b"\xf0\x9f", float("-inf"))
    assert other.bytes == b"x"


@pytest.mark.parametrize(
    ("event", "kind", "told"),
    [
        ({"error": {"message": "no", "type": "invalid_request_error"}}, InvalidRequest, "no"),
        ({"error": {"message": "no", "code": 400}}, InvalidRequest, "no"),
        ({"error": {"message": "full", "code": "rate_limit_exceeded"}}, Overloaded, "full"),
        ({"error": {"message": "the secret broke"}}, UpstreamFailed, r"the \*\*\* broke"),
        ({"error": "just a text"}, UpstreamFailed, "just a text"),
        ({"error": {}}, UpstreamFailed, "failed"),
        ({"object": "error", "message": "old vLLM", "code": 500}, UpstreamFailed, "old vLLM"),
        ({"error": {"message": "x" * 10_000}}, UpstreamFailed, "x"),
    ],
)
def test_errors_in_a_stream(event: Any, kind: type[PennyweightError], told: str) -> None:
    error = failure(event).error
    assert type(error) is kind
    assert error.message
    with pytest.raises(kind, match=told):
        raise error
    assert len(error.message) < 1100


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'"a"',
        b"\xff",
        b'{"choices": 3}',
        b'{"choices": [{"index": -1}]}',
        b'{"choices": [{"index": 1}]}',
    ],
)
def test_what_is_no_chunk_fails(data: bytes) -> None:
    with pytest.raises(Failure) as caught:
        make().take(data)
    assert isinstance(caught.value.error, UpstreamFailed)
    assert caught.value.is_retryable


@pytest.mark.parametrize("data", [b"{}", b'{"choices": null}', b'{"choices": [{"index": 0, "delta": null}], "x": [1]}'])
def test_what_is_an_empty_chunk_does_not(data: bytes) -> None:
    assert make().take(data) == []
