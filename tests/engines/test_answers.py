"""Chats and completions: what is asked for is what comes back."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import openai
import pytest
from fakes.server_process import ServerProcess

from pennyweight.server.engines.features import Feature

pytestmark = pytest.mark.asyncio(loop_scope="package")

PARIS: Any = [{"role": "user", "content": "What is the capital of France?"}]
STORY: Any = [{"role": "user", "content": "Tell me a story about a lighthouse."}]


async def test_a_chat_is_answered(client: openai.AsyncOpenAI, model: str) -> None:
    answer = await client.chat.completions.create(model=model, messages=PARIS, temperature=0)
    (choice,) = answer.choices
    assert "Paris" in (choice.message.content or "")
    assert (choice.message.role, choice.finish_reason, answer.model) == ("assistant", "stop", model)
    assert answer.system_fingerprint
    assert answer.usage is not None
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens == answer.usage.total_tokens
    assert answer._request_id


async def test_every_role_and_content_parts_are_taken(client: openai.AsyncOpenAI, model: str) -> None:
    answer = await client.chat.completions.create(
        model=model,
        messages=[
            {"role": "developer", "content": "Answer in one word."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "The capital of "}, {"type": "text", "text": "Italy?"}],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "capital", "arguments": '{"of": "Italy"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "Rome"},
        ],
        temperature=0,
        max_completion_tokens=16,
    )
    assert "Rome" in (answer.choices[0].message.content or "")


async def test_a_stream_has_the_role_once_one_end_and_the_usage(client: openai.AsyncOpenAI, model: str) -> None:
    whole = await client.chat.completions.create(model=model, messages=STORY, temperature=0, max_tokens=40)
    stream = await client.chat.completions.create(
        model=model,
        messages=STORY,
        temperature=0,
        max_tokens=40,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert [delta.delta.role for delta in deltas if delta.delta.role] == ["assistant"]
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == ["length"]
    assert "".join(delta.delta.content or "" for delta in deltas) == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 40
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


async def test_choices_differ_and_come_again_with_their_seed(client: openai.AsyncOpenAI, model: str) -> None:
    async def ask() -> list[str | None]:
        answer = await client.chat.completions.create(
            model=model, messages=STORY, n=3, seed=7, temperature=1, max_tokens=24
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        return [choice.message.content for choice in answer.choices]

    alone = await ask()
    assert len(set(alone)) == 3
    assert await asyncio.gather(*(ask() for _ in range(4))) == [alone] * 4


async def test_another_seed_gives_another_answer(client: openai.AsyncOpenAI, model: str) -> None:
    answers = {
        (await client.chat.completions.create(model=model, messages=STORY, seed=seed, temperature=1, max_tokens=24))
        .choices[0]
        .message.content
        for seed in range(4)
    }
    assert len(answers) == 4


async def test_logprobs_come_with_their_alternatives(client: openai.AsyncOpenAI, model: str) -> None:
    answer = await client.chat.completions.create(
        model=model, messages=PARIS, temperature=0, max_tokens=8, logprobs=True, top_logprobs=20
    )
    choice = answer.choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    tokens = choice.logprobs.content
    # vLLM's own server counts the end of the sequence among them.
    written = "".join(bytes(token.bytes or []).decode() for token in tokens).removesuffix("<|im_end|>")
    assert written == choice.message.content
    for token in tokens:
        assert len(token.top_logprobs) == 20
        assert token.logprob == token.top_logprobs[0].logprob == max(top.logprob for top in token.top_logprobs)
        assert math.fsum(math.exp(top.logprob) for top in token.top_logprobs) <= 1.001


async def test_logprobs_of_a_stream_are_those_of_the_whole(client: openai.AsyncOpenAI, model: str) -> None:
    asked: Any = {
        "model": model,
        "messages": PARIS,
        "temperature": 0,
        "max_tokens": 8,
        "logprobs": True,
        "top_logprobs": 2,
    }
    whole = await client.chat.completions.create(**asked)
    stream = await client.chat.completions.create(**asked, stream=True)
    streamed = [
        token
        async for chunk in stream
        for choice in chunk.choices
        if choice.logprobs
        for token in choice.logprobs.content or []
    ]
    assert whole.choices[0].logprobs is not None
    assert streamed == whole.choices[0].logprobs.content


@pytest.mark.parametrize("stop", [" of", ["lighthouse", "zebra"]])
async def test_a_stop_string_ends_the_answer_before_it(client: openai.AsyncOpenAI, model: str, stop: Any) -> None:
    plain = await client.chat.completions.create(model=model, messages=STORY, temperature=0, max_tokens=60)
    text = plain.choices[0].message.content or ""
    found = next(one for one in ([stop] if isinstance(stop, str) else stop) if one in text)
    answer = await client.chat.completions.create(model=model, messages=STORY, temperature=0, max_tokens=60, stop=stop)
    assert answer.choices[0].message.content == text[: text.index(found)]
    assert answer.choices[0].finish_reason == "stop"


async def test_token_ids_and_biases_steer_the_answer(
    client: openai.AsyncOpenAI, server: ServerProcess, model: str
) -> None:
    async with server.client.post("/tokenize", json={"prompt": " Rome Paris", "model": model}) as got:
        rome, paris = (await got.json())["tokens"]
    answer = await client.chat.completions.create(
        model=model,
        messages=PARIS,
        temperature=0,
        max_tokens=8,
        logit_bias={str(paris): -100, str(rome): 20},
    )
    assert "Paris" not in (answer.choices[0].message.content or "")
    stopped = await client.chat.completions.create(
        model=model, messages=PARIS, temperature=0, extra_body={"stop_token_ids": [paris]}
    )
    assert stopped.choices[0].finish_reason == "stop"
    assert (stopped.choices[0].message.content or "").endswith(" is")


async def test_extra_parameters_reach_the_engine(client: openai.AsyncOpenAI, model: str) -> None:
    answer = await client.chat.completions.create(
        model=model,
        messages=PARIS,
        max_tokens=30,
        extra_body={
            "top_k": 1,
            "min_tokens": 30,
            "repetition_penalty": 1.2,
            "min_p": 0.1,
            "ignore_eos": True,
            "priority": -1,
        },
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 30


async def test_the_last_message_can_be_continued(client: openai.AsyncOpenAI, model: str) -> None:
    answer = await client.chat.completions.create(
        model=model,
        messages=[*PARIS, {"role": "assistant", "content": "The capital of France is"}],
        temperature=0,
        max_tokens=2,
        extra_body={"continue_final_message": True, "add_generation_prompt": False},
    )
    assert (answer.choices[0].message.content or "").startswith(" Paris")


async def test_prompts_of_every_form_are_completed(
    client: openai.AsyncOpenAI, server: ServerProcess, model: str
) -> None:
    async with server.client.post("/tokenize", json={"prompt": "The sky is", "model": model}) as got:
        ids = (await got.json())["tokens"]

    async def texts(prompt: Any) -> list[str]:
        answer = await client.completions.create(model=model, prompt=prompt, max_tokens=8, temperature=0)
        return [choice.text for choice in answer.choices]

    (text,) = await texts("The sky is")
    assert await texts(ids) == [text]
    assert (await texts(["The sky is", "One, two,"]))[0] == text
    assert await texts([ids, ids]) == [text, text]


@pytest.mark.needs(Feature.ECHO, Feature.PROMPT_LOGPROBS)
async def test_an_echo_has_the_prompt_s_logprobs(client: openai.AsyncOpenAI, model: str) -> None:
    answer = await client.completions.create(
        model=model, prompt="The sky is blue", max_tokens=2, temperature=0, echo=True, logprobs=3
    )
    (choice,) = answer.choices
    assert choice.text.startswith("The sky is blue")
    found = choice.logprobs
    assert found is not None
    assert found.tokens is not None
    assert found.token_logprobs is not None
    assert "".join(found.tokens) == choice.text
    assert found.token_logprobs[0] is None
    assert all(logprob is not None and logprob <= 0 for logprob in found.token_logprobs[1:])
    only = await client.completions.create(model=model, prompt="The sky is blue", max_tokens=0, echo=True, logprobs=1)
    assert only.choices[0].text == "The sky is blue"


async def test_a_completion_streams(client: openai.AsyncOpenAI, model: str) -> None:
    whole = await client.completions.create(model=model, prompt="Once", max_tokens=12, temperature=0)
    stream = await client.completions.create(model=model, prompt="Once", max_tokens=12, temperature=0, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["length"]


async def test_a_repeated_prompt_is_found_in_the_cache(client: openai.AsyncOpenAI, model: str) -> None:
    messages: Any = [{"role": "user", "content": "Here is a list of words: " + " ".join(map(str, range(200)))}]
    usages = []
    for _ in range(2):
        answer = await client.chat.completions.create(model=model, messages=messages, max_tokens=4, temperature=0)
        usages.append(answer.usage)
    first, second = usages
    assert first is not None
    assert second is not None
    assert second.prompt_tokens_details is not None
    # All but what does not fill a block, of which an engine may have large ones.
    assert (second.prompt_tokens_details.cached_tokens or 0) >= second.prompt_tokens - 160


async def test_leaving_a_stream_frees_the_engine(client: openai.AsyncOpenAI, server: ServerProcess, model: str) -> None:
    stream = await client.chat.completions.create(
        model=model, messages=STORY, stream=True, max_tokens=4000, extra_body={"ignore_eos": True}
    )
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    assert await server.metric("num_requests_running") == 1
    await stream.close()
    async with asyncio.timeout(5):
        while await server.metric("num_requests_running"):  # noqa: ASYNC110 (a state of another process has no event)
            await asyncio.sleep(0.02)


async def test_the_models_are_listed(client: openai.AsyncOpenAI, model: str) -> None:
    listed = [one async for one in client.models.list()]
    assert [one.id for one in listed] == [model]
    assert (await client.models.retrieve(model)).id == model


async def test_tokens_and_text_are_turned_into_each_other(server: ServerProcess, model: str) -> None:
    text = "Bonjour, 世界! 🙂"
    async with server.client.post("/tokenize", json={"model": model, "prompt": text}) as got:
        tokens = (await got.json())["tokens"]
    async with server.client.post("/detokenize", json={"model": model, "tokens": tokens}) as got:
        assert (await got.json())["prompt"] == text
    async with server.client.post("/tokenize", json={"model": model, "messages": PARIS}) as got:
        assert (await got.json())["count"] > 8
