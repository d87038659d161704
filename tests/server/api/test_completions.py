"""Plain completions through the endpoint, with an engine whose tokens are bytes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fakes.api_client import Reply, ask, make_call, parse_events, read_all
from fakes.scripted_engine import ScriptedEngine, logprob, says

from pennyweight.server.api.completions import create_completion
from pennyweight.server.api.exchange import StreamAnswer
from pennyweight.server.errors import ContextLengthExceeded, EngineFailed, PennyweightError
from pennyweight.server.types import Delta, FinishReason, Request, TextPrompt, TokensPrompt


async def complete(engine: ScriptedEngine | None = None, **fields: Any) -> Reply:
    return await ask(create_completion, {"model": "scripted", "prompt": "ab", **fields}, engine)


def _echo_prompt(request: Request) -> list[Delta]:
    """Answers with the prompt in capitals, the later letters of the alphabet with more deltas."""
    text = request.prompt.text if isinstance(request.prompt, TextPrompt) else "?"
    return says(*text.upper())


async def test_whole_answer_has_openais_shape() -> None:
    reply = await complete()
    assert reply.json.pop("created") > 0
    assert reply.json.pop("usage")["total_tokens"] == 5
    assert reply.json == {
        "id": "cmpl-r1",
        "object": "text_completion",
        "model": "scripted",
        "system_fingerprint": "fp_scripted",
        "choices": [{"index": 0, "text": "Hello world", "logprobs": None, "finish_reason": "stop"}],
    }


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("ab", [TextPrompt(text="ab")]),
        (["ab", "c"], [TextPrompt(text="ab"), TextPrompt(text="c")]),
        ([97, 98], [TokensPrompt(token_ids=(97, 98))]),
        ([[97], [98, 99]], [TokensPrompt(token_ids=(97,)), TokensPrompt(token_ids=(98, 99))]),
    ],
)
async def test_prompts_come_in_four_forms(prompt: Any, wanted: list[Any]) -> None:
    engine = ScriptedEngine()
    reply = await complete(engine, prompt=prompt)
    assert [left.request.prompt for left in engine.left] == wanted
    assert [choice["index"] for choice in reply.json["choices"]] == list(range(len(wanted)))
    assert len({left.request.id for left in engine.left}) == len(wanted)
    assert engine.left[0].request.sampling.max_tokens == 16


@pytest.mark.parametrize("stream", [False, True])
async def test_choices_are_numbered_prompt_by_prompt(stream: bool) -> None:
    engine = ScriptedEngine(_echo_prompt)
    fields: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    reply = await complete(engine, prompt=["x", "long", "yy"], n=2, **fields)
    if stream:
        assert reply.is_done
        texts = [reply.text(index) for index in range(6)]
        assert all(len([c for c in reply.chunks(index) if c["finish_reason"]]) == 1 for index in range(6))
        usage = reply.events[-1]["usage"]
        assert all(event["usage"] is None for event in reply.events[:-1])
    else:
        texts = [choice["text"] for choice in reply.json["choices"]]
        usage = reply.json["usage"]
    assert texts == ["X", "X", "LONG", "LONG", "YY", "YY"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (10, 14)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 3
    assert all(left.whole for left in engine.left)


@pytest.mark.parametrize("stream", [False, True])
async def test_echo_begins_each_choice_with_its_prompt(stream: bool) -> None:
    reply = await complete(prompt=["ab", "c"], echo=True, n=2, stream=stream)
    texts = (
        [reply.text(index) for index in range(4)] if stream else [choice["text"] for choice in reply.json["choices"]]
    )
    assert texts == ["abHello world"] * 2 + ["cHello world"] * 2


async def test_echoed_token_ids_are_echoed_as_text() -> None:
    assert (await complete(prompt=[104, 105], echo=True)).json["choices"][0]["text"] == "hiHello world"


def _with_logprobs(request: Request) -> list[Delta]:
    tokens = [logprob(text, alternatives=request.sampling.logprobs or 0) for text in ("X", "yz")]
    return [Delta(index=0, text=token.token, token_ids=(1,), logprobs=(token,)) for token in tokens] + says()


@pytest.mark.parametrize("stream", [False, True])
async def test_echoed_logprobs_have_the_legacy_shape(stream: bool) -> None:
    reply = await complete(ScriptedEngine(_with_logprobs), prompt="ab", echo=True, logprobs=1, stream=stream)
    if stream:
        parts = [chunk["logprobs"] for chunk in reply.chunks() if chunk["logprobs"]]
        found = {name: [item for part in parts for item in part[name]] for name in parts[0]}
    else:
        found = reply.json["choices"][0]["logprobs"]
    assert found == {
        "tokens": ["\x01", "a", "b", "X", "yz"],
        "token_logprobs": [None, -0.5, -0.5, -0.5, -0.5],
        "top_logprobs": [None, {"a": -0.5}, {"a": -0.5, "b": -0.5}, {"a": -0.5, "X": -0.5}, {"a": -0.5, "yz": -0.5}],
        "text_offset": [0, 0, 1, 2, 3],
    }


async def test_prompt_alone_is_scored_with_max_tokens_zero() -> None:
    engine = ScriptedEngine(lambda request: says(reason=FinishReason.LENGTH))
    reply = await complete(engine, echo=True, logprobs=0, max_tokens=0)
    choice = reply.json["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == ("ab", "length")
    assert choice["logprobs"]["tokens"] == ["\x01", "a", "b"]
    assert engine.left[0].request.sampling.max_tokens == 0


async def test_logprobs_without_echo_are_of_the_answer() -> None:
    choice = (await complete(ScriptedEngine(_with_logprobs), logprobs=0)).json["choices"][0]
    assert choice["logprobs"]["tokens"] == ["X", "yz"]
    assert choice["logprobs"]["text_offset"] == [0, 1]


async def test_prompt_logprobs_are_each_choices_own() -> None:
    choices = (await complete(prompt=["ab", "c"], prompt_logprobs=0)).json["choices"]
    assert [len(choice["prompt_logprobs"]) for choice in choices] == [3, 2]


async def test_special_tokens_are_left_out_where_asked() -> None:
    assert (await complete(add_special_tokens=False)).json["usage"]["prompt_tokens"] == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_one_prompts_error_ends_the_others(stream: bool) -> None:
    def refusal(request: Request) -> PennyweightError | None:
        is_bad = isinstance(request.prompt, TextPrompt) and request.prompt.text == "bad"
        return ContextLengthExceeded("You have 9 in the prompt.", param="prompt") if is_bad else None

    engine = ScriptedEngine(refusal=refusal)
    reply = await complete(engine, prompt=["good", "bad", "good"], stream=stream, echo=True)
    assert reply.status == 400
    assert reply.error["param"] == "prompt"
    assert reply.error["message"] == "You have 9 in the prompt."
    assert not any(left.whole for left in engine.left if left.request.prompt == TextPrompt(text="bad"))
    assert all(left.whole or left.closed for left in engine.left if left.request.prompt != TextPrompt(text="bad"))


async def test_error_in_mid_stream_is_one_event_without_done() -> None:
    broken = asyncio.Event()
    engine = ScriptedEngine(lambda request: [*says("a")[:1], broken, EngineFailed("No.")])
    call = make_call({"model": "scripted", "prompt": ["x", "y", "z"], "stream": True}, engine)
    answer = await create_completion(call)
    assert isinstance(answer, StreamAnswer)
    first = await anext(answer.chunks)
    broken.set()
    events, is_done = parse_events(first + await read_all(answer.chunks))
    assert not is_done
    assert [event["error"]["code"] for event in events if "error" in event] == ["engine_error"]
    assert "error" in events[-1]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [True]}, "prompt[0]"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"prompt": [[2**31]]}, "prompt[0][0]"),
        ({"prompt": {}}, "prompt"),
        ({"prompt": ["a"] * 65}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"echo": True, "logprobs": 1, "prompt_logprobs": 2}, "prompt_logprobs"),
        ({"stream": True, "prompt_logprobs": 2}, "prompt_logprobs"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"messages": []}, "messages"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    engine = ScriptedEngine()
    reply = await complete(engine, **fields)
    assert reply.status == 400
    assert reply.error["param"] == param
    assert not engine.left


async def test_missing_prompt_is_missing() -> None:
    reply = await ask(create_completion, {"model": "scripted"})
    assert reply.error["code"] == "missing_required_parameter"


async def test_what_asks_for_nothing_is_no_error() -> None:
    assert (await complete(suffix=None, best_of=1, use_beam_search=False)).warning is None
