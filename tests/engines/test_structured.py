"""Structured outputs and tool calls of the real model at temperature 1: every answer parses, validates and ends."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import jsonschema
import openai
import pydantic
import pytest

from pennyweight.server.engines.features import Feature

pytestmark = pytest.mark.asyncio(loop_scope="package")

AT_ONCE = 10
needs_bounded_numbers = pytest.mark.needs(Feature.BOUNDED_NUMBERS)
NAME = {"type": "string", "maxLength": 24}


def obj(properties: dict[str, Any], optional: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False} | more


def array(items: dict[str, Any], most: int = 3, least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": items, "maxItems": most, "minItems": least}


SCHEMAS: dict[str, dict[str, Any]] = {
    "flat": obj({"name": NAME, "age": {"type": "integer", "minimum": 0, "maximum": 150}}),
    "nested": obj({"person": obj({"name": NAME, "address": obj({"street": NAME, "city": NAME})})}),
    "reference": obj(
        {"home": {"$ref": "#/$defs/place"}, "work": {"$ref": "#/$defs/place"}},
        **{"$defs": {"place": obj({"city": NAME, "zip": {"type": "string", "maxLength": 8}})}},
    ),
    "array": obj({"tags": array(NAME, most=4, least=1)}),
    "array of objects": obj({"items": array(obj({"what": NAME, "count": {"type": "integer"}}))}),
    "optional": obj({"title": NAME, "subtitle": NAME, "year": {"type": "integer"}}, optional=("subtitle", "year")),
    "enums": obj({"colour": {"enum": ["red", "green", "blue"]}, "size": {"enum": [1, 2, 3]}, "ok": {"const": True}}),
    "numbers": obj({"price": {"type": "number"}, "ratio": {"type": "number", "minimum": 0, "maximum": 1}}),
    "union": obj({"value": {"anyOf": [NAME, {"type": "integer"}, {"type": "null"}, array({"type": "boolean"})]}}),
    "recursive": obj(
        {"tree": {"$ref": "#/$defs/node"}},
        **{
            "$defs": {
                "node": obj({"label": NAME, "children": array({"$ref": "#/$defs/leaf"}, most=2)}),
                "leaf": obj({"label": NAME, "weight": {"type": "number"}}),
            }
        },
    ),
}

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": obj({"city": NAME, "unit": {"enum": ["celsius", "fahrenheit"]}, "days": {"type": "integer"}}),
    },
}
TIME: Any = {
    "type": "function",
    "function": {"name": "get_time", "parameters": obj({"zone": NAME}, optional=("zone",))},
}


async def gathered(ask: Callable[[int], Awaitable[Any]], count: int) -> list[Any]:
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(index: int) -> Any:
        async with limit:
            return await ask(index)

    return await asyncio.gather(*(one(index) for index in range(count)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=needs_bounded_numbers if '"number"' in json.dumps(SCHEMAS[name]) else ())
        for name in SCHEMAS
    ],
)
async def test_every_answer_follows_the_schema(client: openai.AsyncOpenAI, model: str, name: str, times: int) -> None:
    schema = SCHEMAS[name]

    async def ask(index: int) -> None:
        answer = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": f"Invent example number {index} of {name} data."}],
            temperature=1,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "example", "strict": True, "schema": schema},
            },
        )
        choice = answer.choices[0]
        assert choice.finish_reason == "stop"
        jsonschema.validate(json.loads(choice.message.content or ""), schema)

    await gathered(ask, times)


@pytest.mark.slow
async def test_every_forced_call_parses(client: openai.AsyncOpenAI, model: str, times: int) -> None:
    async def ask(index: int) -> None:
        named: Any = {"type": "function", "function": {"name": "get_weather"}}
        answer = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": f"How will the weather be in city number {index}?"}],
            tools=[WEATHER, TIME],
            tool_choice=named if index % 2 else "required",
            parallel_tool_calls=False,
            temperature=1,
        )
        choice = answer.choices[0]
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.tool_calls or []
        assert call.type == "function"
        assert call.id
        tool = {"get_weather": WEATHER, "get_time": TIME}[call.function.name]
        jsonschema.validate(json.loads(call.function.arguments), tool["function"]["parameters"])
        if index % 2:
            assert call.function.name == "get_weather"

    await gathered(ask, 10 * times)


async def test_a_forced_call_streams_its_arguments(client: openai.AsyncOpenAI, model: str) -> None:
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "The weather in Paris?"}],
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        stream=True,
        temperature=1,
    )
    pieces, names, reasons = [], [], []
    async for chunk in stream:
        for choice in chunk.choices:
            reasons += [choice.finish_reason] if choice.finish_reason else []
            for call in choice.delta.tool_calls or []:
                assert call.function is not None
                names += [call.function.name] if call.function.name else []
                pieces.append(call.function.arguments or "")
    assert (names, reasons) == (["get_weather"], ["tool_calls"])
    assert len(pieces) > 2
    jsonschema.validate(json.loads("".join(pieces)), WEATHER["function"]["parameters"])


class Colour(pydantic.BaseModel):
    name: Literal["red", "green"]
    shades: list[Literal["light", "dark"]] = pydantic.Field(max_length=2)


async def test_the_client_s_own_parsing_gives_the_model_s_type(client: openai.AsyncOpenAI, model: str) -> None:
    answer = await client.chat.completions.parse(
        model=model, messages=[{"role": "user", "content": "A colour?"}], response_format=Colour
    )
    assert isinstance(answer.choices[0].message.parsed, Colour)


@needs_bounded_numbers
async def test_a_json_object_is_one(client: openai.AsyncOpenAI, model: str) -> None:
    answer = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": 'Repeat this: {"name": "Tom"}'}],
        response_format={"type": "json_object"},
        temperature=0,
        max_tokens=400,
    )
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("constraint", "pattern"),
    [
        ({"regex": r"\d{3}-[a-f]{4}"}, r"\d{3}-[a-f]{4}"),
        ({"choice": ["Paris", "London", "a longer choice"]}, "Paris|London|a longer choice"),
        ({"grammar": 'start: "yes" | "no" (" " "no")~0..2'}, "yes|no( no){0,2}"),
    ],
)
async def test_a_constraint_holds(
    client: openai.AsyncOpenAI, model: str, constraint: dict[str, Any], pattern: str, seed: int
) -> None:
    answer = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Say something."}],
        temperature=1,
        seed=seed,
        extra_body={"structured_outputs": constraint},
    )
    assert re.fullmatch(pattern, answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
