"""What can't be answered comes as the client's own types of errors, with the parameter's name."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from fakes.live_server import live_server
from fakes.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="package")

# What our own server can't judge before it asks another, that one refuses in its own words.
JUDGED_BY_THE_MODEL = ("max_tokens", "structured_outputs.regex", "messages")

HI: Any = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("parameters", "param", "code"),
    [
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": 999}, "n", "invalid_value"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"stop": ["a"] * 17}, "stop", "invalid_value"),
        ({"logit_bias": {"99999999": 1}}, "logit_bias", "invalid_value"),
        ({"max_tokens": 999_999}, "max_tokens", "context_length_exceeded"),
        ({"extra_body": {"best_of": 2}}, "best_of", "unsupported_parameter"),
        ({"extra_body": {"stop_token_ids": [10**6]}}, "stop_token_ids", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role", "invalid_value"),
        ({"extra_body": {"structured_outputs": {"regex": "("}}}, "structured_outputs.regex", "invalid_grammar"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
    ],
)
async def test_a_bad_parameter_is_named(
    client: openai.AsyncOpenAI, model: str, engine: str, parameters: dict[str, Any], param: str, code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(**({"model": model, "messages": HI} | parameters))
    assert refused.value.type == "invalid_request_error"
    if engine != "upstream-of-vllm" or param not in JUDGED_BY_THE_MODEL:
        assert (refused.value.param, refused.value.code) == (param, code)


async def test_a_prompt_over_the_context_has_the_usual_message(
    client: openai.AsyncOpenAI, model: str, engine: str
) -> None:
    with pytest.raises(openai.BadRequestError, match="maximum context length is 8192 tokens") as refused:
        await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "word " * 9000}])
    assert refused.value.code == "context_length_exceeded"
    if engine != "upstream-of-vllm":
        assert refused.value.param == "messages"


async def test_an_unknown_model_is_not_found(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        await client.chat.completions.create(model="gpt-5", messages=HI)
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-5")


async def test_a_key_that_is_not_known_is_an_authentication_error(model: str) -> None:
    async with (
        live_server(http={"api_keys": ("sk-right",)}) as guarded,
        openai.AsyncOpenAI(base_url=guarded.url + "/v1", api_key="sk-wrong", max_retries=0) as client,
    ):
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.chat.completions.create(model="scripted", messages=HI)
        assert refused.value.code == "invalid_api_key"


async def test_unknown_parameters_are_ignored_with_a_warning(server: ServerProcess, model: str) -> None:
    body = {"model": model, "messages": HI, "max_tokens": 1, "frobnicate": 1, "store": True}
    async with server.client.post("/v1/chat/completions", json=body) as answer:
        assert answer.status == 200
        assert "frobnicate" in answer.headers["x-pennyweight-warning"]
        assert "store" in answer.headers["x-pennyweight-warning"]
