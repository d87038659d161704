from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fakes.recorded import record

from pennyweight.bench.replay.sending import NotSendable, generation, through_cache
from pennyweight.server.record.redaction import PROMPTS, without_prompt
from pennyweight.server.types import (
    ChatPrompt,
    Constraint,
    ConstraintKind,
    Message,
    Request,
    Routing,
    SamplingParams,
    TokensPrompt,
    Tool,
    ToolChoice,
)


def body(**fields: Any) -> str:
    return msgspec.json.encode({"model": "tiny", "prompt": "Hi", **fields}).decode()


def test_a_request_is_sent_as_it_was_received_with_its_seed_past_the_cache_and_without_a_deadline() -> None:
    one = record(
        received=body(temperature=0.7, stream=True, stream_options={"include_usage": True}, timeout=2, cache=True),
        headers={"x-pennyweight-tier": "quick", "x-pennyweight-timeout": "2", "cache-control": "max-age=60"},
        seed=17,
        determinism="bitwise",
    )
    found = generation(one)
    assert found.path == "/v1/completions"
    assert found.body == {
        **{"model": "tiny", "prompt": "Hi", "temperature": 0.7, "seed": 17},
        **{"return_token_ids": True, "logits_hashes": True},
    }
    assert found.headers == {
        **{"x-pennyweight-tier": "quick", "cache-control": "no-store"},
        **{"x-pennyweight-deterministic": "bitwise"},
    }


def test_what_asks_the_cache_is_the_request_alone() -> None:
    one = record(received=body(cache=True), headers={"cache-control": "max-age=60"}, seed=17, determinism="bitwise")
    found = through_cache(one)
    assert found.body == {"model": "tiny", "prompt": "Hi", "cache": True, "return_token_ids": True}
    assert found.headers == {"cache-control": "max-age=60"}


def test_the_first_of_several_prompts_is_that_of_the_record_with_the_body() -> None:
    assert generation(record(received=body(prompt=["One", "Two"]))).body["prompt"] == "One"
    assert generation(record(received=body(prompt=[[1, 2], [3]]))).body["prompt"] == [1, 2]
    assert generation(record(received=body(prompt=[1, 2]))).body["prompt"] == [1, 2]


def test_a_body_that_is_not_in_the_record_is_made_again_from_the_request() -> None:
    request = Request(
        id="one",
        model="auto",
        prompt=TokensPrompt(token_ids=(1, 2, 3)),
        sampling=SamplingParams(
            max_tokens=5,
            temperature=0.5,
            top_k=0,
            stop=("x",),
            logit_bias={7: 1.0},
            logprobs=2,
            ignore_eos=True,
            prompt_logprobs=1,
            constraint=Constraint(kind=ConstraintKind.REGEX, value="a+", param="guided_regex"),
        ),
        routing=Routing(tier="quick", max_cost=0.5),
    )
    found = generation(record(received=None, request=request)).body
    wanted = {
        **{"model": "auto", "prompt": (1, 2, 3), "max_tokens": 5, "temperature": 0.5, "top_k": -1, "stop": ["x"]},
        **{"logit_bias": {"7": 1.0}, "logprobs": 2, "ignore_eos": True, "prompt_logprobs": 1},
        **{"structured_outputs": {"regex": "a+"}, "service_tier": "quick", "max_cost": 0.5},
        **{"return_token_ids": True, "logits_hashes": True},
    }
    assert found == wanted


def test_a_forced_tool_is_asked_for_and_not_what_was_made_of_it() -> None:
    request = Request(
        id="one",
        model="tiny",
        prompt=ChatPrompt(
            messages=(Message(role="user", content="Weather?"),),
            tools=(Tool(name="weather", parameters={"type": "object"}),),
            tool_choice=ToolChoice(mode="required", name="weather"),
        ),
        sampling=SamplingParams(
            constraint=Constraint(kind=ConstraintKind.JSON_SCHEMA, value='{"type":"object"}', param="tools")
        ),
    )
    found = generation(record(received=None, request=request, endpoint="/v1/chat/completions")).body
    assert found["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert found["tools"] == [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    assert "response_format" not in found


def test_a_record_without_its_prompt_can_not_be_sent() -> None:
    with pytest.raises(NotSendable, match="its prompt was left out"):
        generation(without_prompt(record(redacted=(PROMPTS,))))
