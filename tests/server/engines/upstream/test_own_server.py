"""Our own application at both ends: what a client asks of the one comes to the other's engine, and its answer back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from fakes.fault_server import fault_server
from fakes.live_server import LiveEngine
from fakes.scripted_engine import Step, logprob, says
from fakes.served import openai_client, served

from pennyweight.server.config import UpstreamSettings
from pennyweight.server.engines.upstream.client import UpstreamEngine
from pennyweight.server.errors import EngineFailed, Overloaded
from pennyweight.server.types import ChatPrompt, ConstraintKind, Delta, FinishReason, Request, TextPrompt, TokensPrompt

MESSAGES: Any = [{"role": "user", "content": "Hi"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = 'Wait.<tool_call>{"name": "weather", "arguments": {"city": "Bonn"}}</tool_call>'
KEY = "sk-between-servers"


class Ends:
    """The engine behind both servers, and the client before them."""

    def __init__(self) -> None:
        self.engine = LiveEngine()
        self.engine.loaded.set()
        self.upstream: UpstreamEngine
        self.client: openai.AsyncOpenAI

    def says(self, *steps: Step | str) -> None:
        """What the model answers: texts, or steps as they are."""
        made: list[Step] = []
        for step in steps:
            made += says(step) if isinstance(step, str) else [step]
        self.engine.script = lambda request: made

    @property
    def asked(self) -> Request:
        """The request as it came to the engine."""
        return self.engine.left[-1].request


@pytest_asyncio.fixture(params=["vllm"])
async def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ends]:
    monkeypatch.setenv("BETWEEN_SERVERS", KEY)
    found = Ends()
    async with served(found.engine, "scripted", api_keys=(KEY,)) as url:
        settings = UpstreamSettings(
            base_url=url, model="scripted", dialect=request.param, api_key_env="BETWEEN_SERVERS", max_retries=0
        )
        found.upstream = UpstreamEngine(settings, "alias")
        async with served(found.upstream, "alias") as outer, openai_client(outer) as client:
            found.client = client
            yield found


both_dialects = pytest.mark.parametrize("ends", ["openai", "vllm"], indirect=True)


@both_dialects
async def test_a_chat(ends: Ends) -> None:
    answer = await ends.client.chat.completions.create(
        model="alias", messages=MESSAGES, temperature=0.5, top_p=0.9, seed=3, stop=["x", "y"], max_tokens=9
    )
    assert answer.model == "alias"
    assert answer.choices[0].message.content == "Hello world"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.system_fingerprint == "fp_scripted"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (8, 2)
    assert answer.usage.prompt_tokens_details.cached_tokens == 1
    assert "estimated" not in answer.usage.to_dict()
    asked = ends.asked
    assert asked.model == "scripted"
    assert isinstance(asked.prompt, ChatPrompt)
    assert [(one.role, one.content) for one in asked.prompt.messages] == [("user", "Hi")]
    sampling = asked.sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.stop) == (0.5, 0.9, 3, ("x", "y"))
    assert sampling.max_tokens == 9


async def test_nothing_is_asked_that_the_client_did_not_ask(ends: Ends) -> None:
    await ends.client.chat.completions.create(model="alias", messages=MESSAGES)
    asked = ends.asked
    assert (asked.sampling.temperature, asked.sampling.top_p, asked.sampling.max_tokens) == (None, None, None)
    assert asked.sampling.n == 1
    assert asked.sampling.constraint is None


@both_dialects
async def test_a_stream_with_usage(ends: Ends) -> None:
    stream = await ends.client.chat.completions.create(
        model="alias", messages=MESSAGES, stream=True, n=2, stream_options={"include_usage": True}
    )
    texts, usage = {0: "", 1: ""}, None
    async for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == {0: "Hello world", 1: "Hello world"}
    assert usage is not None
    assert usage.completion_tokens == 4


@both_dialects
async def test_several_choices(ends: Ends) -> None:
    ends.says(
        Delta(index=1, text="one", token_ids=(1,)),
        Delta(index=0, text="zero", token_ids=(1,), finish_reason=FinishReason.LENGTH),
        Delta(index=1, text="!", token_ids=(1,), finish_reason=FinishReason.STOP, stop_reason="x"),
    )
    answer = await ends.client.chat.completions.create(model="alias", messages=MESSAGES, n=2)
    assert [choice.message.content for choice in answer.choices] == ["zero", "one!"]
    assert [choice.finish_reason for choice in answer.choices] == ["length", "stop"]
    assert answer.choices[1].to_dict()["stop_reason"] == "x"


@both_dialects
async def test_a_tool_call(ends: Ends) -> None:
    ends.says(*says(*CALL))
    answer = await ends.client.chat.completions.create(model="alias", messages=MESSAGES, tools=[WEATHER])
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Wait."
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Bonn"})
    assert isinstance(ends.asked.prompt, ChatPrompt)
    (tool,) = ends.asked.prompt.tools
    assert (tool.name, tool.description) == ("weather", "Tells the weather.")
    assert tool.parameters == WEATHER["function"]["parameters"]

    async with ends.client.chat.completions.stream(model="alias", messages=MESSAGES, tools=[WEATHER]) as stream:
        final = (await stream.get_final_completion()).choices[0]
    assert final.finish_reason == "tool_calls"
    assert final.message.content == "Wait."
    assert final.message.tool_calls is not None
    assert json.loads(final.message.tool_calls[0].function.arguments) == {"city": "Bonn"}


@both_dialects
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
async def test_a_forced_tool(ends: Ends, choice: Any) -> None:
    is_named = choice != "required"
    ends.says('{"city": "Bonn"}' if is_named else '[{"name": "weather", "parameters": {"city": "Bonn"}}]')
    answer = await ends.client.chat.completions.create(
        model="alias", messages=MESSAGES, tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False
    )
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert json.loads(calls[0].function.arguments) == {"city": "Bonn"}
    assert answer.choices[0].finish_reason == "tool_calls"
    constraint = ends.asked.sampling.constraint
    assert constraint is not None
    assert constraint.kind is ConstraintKind.JSON_SCHEMA


async def test_the_calls_of_earlier_turns(ends: Ends) -> None:
    called: Any = {
        "role": "assistant",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
    }
    result: Any = {"role": "tool", "tool_call_id": "c1", "content": "rain"}
    await ends.client.chat.completions.create(
        model="alias", messages=[*MESSAGES, called, result], tools=[WEATHER], tool_choice="none"
    )
    assert isinstance(ends.asked.prompt, ChatPrompt)
    _, second, third = ends.asked.prompt.messages
    assert second.tool_calls[0].id == third.tool_call_id == "c1"
    assert ends.asked.prompt.tools == ()


@both_dialects
async def test_json_schema(ends: Ends) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    format: Any = {"type": "json_schema", "json_schema": {"name": "mine", "schema": schema}}
    await ends.client.chat.completions.create(model="alias", messages=MESSAGES, response_format=format)
    constraint = ends.asked.sampling.constraint
    assert constraint is not None
    assert json.loads(constraint.value) == schema
    await ends.client.chat.completions.create(model="alias", messages=MESSAGES, response_format={"type": "json_object"})
    constraint = ends.asked.sampling.constraint
    assert constraint is not None
    assert constraint.kind is ConstraintKind.JSON_OBJECT


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ({"regex": "a+"}, ConstraintKind.REGEX),
        ({"choice": ["a", "b"]}, ConstraintKind.CHOICE),
        ({"grammar": "start: 'a'"}, ConstraintKind.GRAMMAR),
    ],
)
async def test_structured_outputs(ends: Ends, wanted: dict[str, Any], kind: ConstraintKind) -> None:
    await ends.client.chat.completions.create(
        model="alias", messages=MESSAGES, extra_body={"structured_outputs": wanted}
    )
    constraint = ends.asked.sampling.constraint
    assert constraint is not None
    assert constraint.kind is kind


async def test_vllms_parameters(ends: Ends) -> None:
    extra = {
        "top_k": 5,
        "min_p": 0.1,
        "repetition_penalty": 1.2,
        "min_tokens": 1,
        "stop_token_ids": [7],
        "include_stop_str_in_output": True,
        "ignore_eos": True,
        "skip_special_tokens": False,
        "chat_template_kwargs": {"enable_thinking": False},
        "continue_final_message": True,
        "priority": 4,
    }
    messages: Any = [*MESSAGES, {"role": "assistant", "content": "Well"}]
    await ends.client.chat.completions.create(
        model="alias", messages=messages, extra_body=extra, logit_bias={"5": 1}, presence_penalty=0.5
    )
    sampling, prompt = ends.asked.sampling, ends.asked.prompt
    for name in ("top_k", "min_p", "repetition_penalty", "min_tokens", "include_stop_str_in_output", "ignore_eos"):
        assert getattr(sampling, name) == extra[name]
    assert sampling.stop_token_ids == (7,)
    assert not sampling.skip_special_tokens
    assert (sampling.logit_bias, sampling.presence_penalty) == ({5: 1}, 0.5)
    assert isinstance(prompt, ChatPrompt)
    assert (prompt.continue_final_message, prompt.add_generation_prompt) == (True, False)
    assert prompt.template_kwargs == {"enable_thinking": False}
    assert ends.asked.priority == 4


@pytest.mark.parametrize("ends", ["openai"], indirect=True)
@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"top_k": 5}, "top_k"),
        ({"min_p": 0.1}, "min_p"),
        ({"ignore_eos": True}, "ignore_eos"),
        ({"structured_outputs": {"regex": "a"}}, "structured_outputs.regex"),
        ({"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"priority": 3}, "priority"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
    ],
)
async def test_what_openai_does_not_know_is_refused(ends: Ends, extra: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await ends.client.chat.completions.create(model="alias", messages=MESSAGES, extra_body=extra)
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")
    assert not ends.engine.left


@both_dialects
async def test_logprobs_of_a_chat(ends: Ends) -> None:
    broken_up = logprob("A", alternatives=2)
    ends.says(Delta(index=0, text="A", token_ids=(65,), logprobs=(broken_up,)), *says())
    answer = await ends.client.chat.completions.create(model="alias", messages=MESSAGES, logprobs=True, top_logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    (token,) = logprobs.content
    assert (token.token, token.bytes, token.logprob) == ("A", [65], -0.5)
    assert [(one.token, one.logprob) for one in token.top_logprobs] == [("a", -0.5), ("b", -1.5)]


@both_dialects
async def test_logprobs_of_a_completion(ends: Ends) -> None:
    tokens = (logprob("A", alternatives=2), logprob("B", alternatives=2))
    ends.says(Delta(index=0, text="AB", token_ids=(65, 66), logprobs=tokens), *says())
    answer = await ends.client.completions.create(model="alias", prompt="p", logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens == ["A", "B"]
    assert logprobs.text_offset == [0, 1]
    assert logprobs.top_logprobs is not None
    assert logprobs.top_logprobs[0] == {"a": -0.5, "b": -1.5, "A": -0.5}


@both_dialects
async def test_completions(ends: Ends) -> None:
    answer = await ends.client.completions.create(model="alias", prompt=["a", "b"], n=2, max_tokens=5)
    assert [choice.text for choice in answer.choices] == ["Hello world"] * 4
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    assert {left.request.prompt for left in ends.engine.left} == {TextPrompt(text="a"), TextPrompt(text="b")}
    assert ends.asked.sampling.max_tokens == 5
    stream = await ends.client.completions.create(model="alias", prompt="a", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "Hello world"


async def test_token_prompts(ends: Ends) -> None:
    await ends.client.completions.create(model="alias", prompt=[1, 2, 3])
    assert ends.asked.prompt == TokensPrompt(token_ids=(1, 2, 3))
    await ends.client.completions.create(model="alias", prompt="a", extra_body={"add_special_tokens": False})
    second: object = ends.asked.prompt
    assert second == TextPrompt(text="a", add_special_tokens=False)


@pytest.mark.parametrize("ends", ["openai"], indirect=True)
async def test_openai_takes_no_tokens_and_tells_none(ends: Ends) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await ends.client.completions.create(model="alias", prompt=[1, 2, 3])
    assert caught.value.param == "prompt"
    with pytest.raises(openai.BadRequestError, match="/tokenize"):
        await ends.client.post("/../tokenize", cast_to=object, body={"prompt": "ab"})


@both_dialects
async def test_echo_is_refused(ends: Ends) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await ends.client.completions.create(model="alias", prompt="a", echo=True)
    assert caught.value.param == "echo"


async def test_tokens_and_back(ends: Ends) -> None:
    assert await ends.upstream.tokenize(TextPrompt(text="ab")) == [1, 97, 98]
    assert await ends.upstream.tokenize(TextPrompt(text="ab", add_special_tokens=False)) == [97, 98]
    assert await ends.upstream.detokenize([97, 98]) == "ab"
    told: Any = await ends.client.post("/../tokenize", cast_to=object, body={"messages": MESSAGES})
    assert (told["count"], told["max_model_len"]) == (8, 2048)


@both_dialects
async def test_the_metrics_count_the_tokens_that_the_upstream_tells(ends: Ends) -> None:
    ends.says(Delta(index=0, text="Hello", token_ids=(1, 2, 3)), *says())
    await ends.client.chat.completions.create(model="alias", messages=MESSAGES)
    exposed = await ends.client.get("/../metrics", cast_to=str)
    for line in (
        'pennyweight:generation_tokens_total{model_name="alias"} 3.0',
        'pennyweight:time_to_first_token_seconds_count{model_name="alias"} 1.0',
        'pennyweight:request_success_total{finished_reason="stop",model_name="alias"} 1.0',
    ):
        assert line in exposed.splitlines()


async def test_an_estimate_is_told_to_be_one() -> None:
    async with fault_server() as upstream:
        engine = UpstreamEngine(UpstreamSettings(base_url=upstream.base_url), "no_usage")
        async with served(engine, "no_usage") as url, openai_client(url) as client:
            answer = await client.chat.completions.create(model="no_usage", messages=MESSAGES)
            assert answer.usage is not None
            assert answer.usage.to_dict()["estimated"] is True
            completed = await client.completions.create(model="no_usage", prompt=["a", "b"])
            assert completed.usage is not None
            assert completed.usage.to_dict()["estimated"] is True


async def test_models(ends: Ends) -> None:
    (model,) = (await ends.client.models.list()).data
    assert (model.id, model.to_dict()["root"], model.to_dict()["max_model_len"]) == ("alias", "scripted", 2048)


async def test_errors_keep_their_kind(ends: Ends) -> None:
    ends.engine.refusal = lambda request: Overloaded("full", retry_after=3)
    with pytest.raises(openai.RateLimitError) as limited:
        await ends.client.chat.completions.create(model="alias", messages=MESSAGES)
    assert limited.value.response.headers["retry-after"] == "3"
    ends.engine.refusal = lambda request: None
    ends.says(EngineFailed("broke"))
    with pytest.raises(openai.InternalServerError) as failed:
        await ends.client.chat.completions.create(model="alias", messages=MESSAGES)
    assert (failed.value.status_code, failed.value.code) == (502, "upstream_error")
    with pytest.raises(openai.BadRequestError) as invalid:
        await ends.client.completions.create(model="alias", prompt=[1, 999])
    assert invalid.value.param == "prompt"


async def test_an_error_in_the_middle_of_a_stream(ends: Ends) -> None:
    ends.says(Delta(index=0, text="Hello", token_ids=(1,)), EngineFailed("broke"))
    stream = await ends.client.chat.completions.create(model="alias", messages=MESSAGES, stream=True)
    chunks = aiter(stream)
    assert (await anext(chunks)).choices[0].delta.role == "assistant"
    assert (await anext(chunks)).choices[0].delta.content == "Hello"
    with pytest.raises(openai.APIError, match="broke"):
        await anext(chunks)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_is_told_to_the_engine(ends: Ends, stream: bool) -> None:
    ends.says(Delta(index=0, text="Hello", token_ids=(1,)), asyncio.Event())
    if stream:
        opened = await ends.client.chat.completions.create(model="alias", messages=MESSAGES, stream=True)
        await anext(aiter(opened))
        await opened.close()
    else:
        asking = asyncio.create_task(ends.client.chat.completions.create(model="alias", messages=MESSAGES))
        while not ends.engine.left:  # noqa: ASYNC110 (a list has no event)
            await asyncio.sleep(0.001)
        asking.cancel()
        await asyncio.wait((asking,))
    async with asyncio.timeout(5):
        while not ends.engine.left[0].closed:  # noqa: ASYNC110 (a flag has no event)
            await asyncio.sleep(0.001)
    assert ends.upstream.stats().running == 0


@both_dialects
async def test_embeddings(ends: Ends) -> None:
    whole = await ends.client.embeddings.create(model="alias", input=["a", "some words more"])
    numbers = await ends.client.embeddings.create(
        model="alias", input=["a", "some words more"], encoding_format="float", dimensions=3
    )
    assert [len(one.embedding) for one in whole.data] == [2, 2]
    assert [one.embedding[0] for one in whole.data] == [one.embedding[0] for one in numbers.data]
    assert [len(one.embedding) for one in numbers.data] == [3, 3]
    assert whole.usage.prompt_tokens == sum(one.embedding[0] for one in whole.data)
    by_ids = await ends.client.embeddings.create(model="alias", input=[1, 2, 3])
    assert by_ids.data[0].embedding[0] == 3
