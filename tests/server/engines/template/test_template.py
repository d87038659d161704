"""One text for all, over a socket and through OpenAI's client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import openai
import pytest
import pytest_asyncio
from fakes.written_server import WrittenServer, written_server

from pennyweight.server.config import TemplateSettings
from pennyweight.server.engines.template.engine import TemplateEngine
from pennyweight.server.errors import ConfigError
from pennyweight.server.types import ChatPrompt, Delta, Message, Request, SamplingParams

TEXT = "We are sorry.\nAsk again in {retry_after} s ({date}, {model}).\n"
CONFIG = f"""
response_cache: {{max_bytes: 1000000}}
models:
  sorry: {{engine: template, text: {json.dumps(TEXT)}, retry_after: 30}}
  told: {{engine: template, text: "Your request is {{request_id}}."}}
"""
QUESTION: Any = [{"role": "user", "content": "Are you there?"}]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WrittenServer]:
    async with written_server(tmp_path_factory.mktemp("template"), CONFIG) as found:
        yield found


async def ask(server: WrittenServer, **more: Any) -> Any:
    return await server.client.chat.completions.create(**({"model": "sorry", "messages": QUESTION} | more))


async def test_it_gives_its_text_with_its_fields_and_says_that_usage_is_a_guess(server: WrittenServer) -> None:
    before = datetime.now(UTC).date()
    answer = await ask(server)
    days = {before.isoformat(), datetime.now(UTC).date().isoformat()}
    text = answer.choices[0].message.content
    assert text in {f"We are sorry.\nAsk again in 30 s ({day}, sorry).\n" for day in days}
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == -(-len(text) // 4)
    assert answer.usage.model_extra["estimated"] is True


async def test_it_streams_by_lines(server: WrittenServer) -> None:
    stream = await ask(server, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert pieces[0] == "We are sorry.\n"
    assert len(pieces) == 2
    assert chunks[-1].usage.completion_tokens > 0


async def test_n_stop_and_max_tokens_are_kept(server: WrittenServer) -> None:
    answer = await ask(server, n=2, stop=["again", "sorry."])
    assert [choice.message.content for choice in answer.choices] == ["We are "] * 2
    cut = await ask(server, max_tokens=2)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("We are s", "length")
    assert cut.usage.completion_tokens == 2
    plain = await server.client.completions.create(model="sorry", prompt="x", max_tokens=3, stop="sorry")
    assert (plain.choices[0].text, plain.choices[0].finish_reason) == ("We are ", "stop")


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}},
            "response_format.json_schema.schema",
        ),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
    ],
)
async def test_what_only_a_model_can_do_is_refused_with_the_reason(
    server: WrittenServer, asked: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError, match="texts written beforehand") as caught:
        await ask(server, **asked)
    assert caught.value.param == param


async def test_how_tokens_would_be_chosen_makes_no_difference(server: WrittenServer) -> None:
    answer = await ask(server, temperature=0.3, top_p=0.5, seed=7, presence_penalty=1.0)
    assert answer.choices[0].message.content.startswith("We are sorry.")


async def test_no_answer_is_kept_by_the_response_cache(server: WrittenServer) -> None:
    texts = [(await ask(server, model="told", seed=1, temperature=0)).choices[0].message.content for _ in range(2)]
    assert texts[0] != texts[1]


async def test_it_is_listed_and_has_no_tokens_or_embeddings(server: WrittenServer) -> None:
    assert [one.id async for one in server.client.models.list()] == ["sorry", "told"]
    with pytest.raises(openai.BadRequestError):
        await server.client.embeddings.create(model="sorry", input="x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{answer}", r"models\.sorry\.text has an unknown field answer; there are model, date, request_id"),
        ("{retry_after}", "unknown field retry_after"),
        ("{model", "no template that can be used"),
        ("{model.__class__.__mro__}", "no template that can be used"),
        ("{range(9)}", "unknown field range"),
        ("  ", "an empty answer"),
        ("{% for i in model %}", "no template that can be used"),
    ],
)
async def test_a_text_that_cannot_be_used_is_told_at_the_start(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TemplateEngine(TemplateSettings(text=text), "sorry")


async def test_a_date_is_the_day_in_utc() -> None:
    now = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
    engine = TemplateEngine(TemplateSettings(text="{date} {'{'}"), "sorry", now=lambda: now)
    prompt = ChatPrompt(messages=(Message(role="user", content="x"),))
    request = Request(id="r", model="sorry", prompt=prompt, sampling=SamplingParams())
    events = [event async for event in engine.generate(request)]
    assert events[1] == Delta(index=0, text="2026-12-31 {", finish_reason="stop")
