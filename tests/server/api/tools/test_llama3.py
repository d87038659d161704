"""Calls that are the whole answer, as bare JSON."""

from __future__ import annotations

import pytest
from fakes.tool_client import Outcome, parse

from pennyweight.server.api.tools.base import ContentDelta
from pennyweight.server.api.tools.llama3 import Llama3Parser

WEATHER = '{"name": "weather", "parameters": {"city": "Bern"}}'
CALL = ("weather", '{"city": "Bern"}')


def make() -> Llama3Parser:
    return Llama3Parser({"weather", "time"})


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("", Outcome("")),
        ("\n", Outcome("\n")),
        ("It is 10:00; I think.", Outcome("It is 10:00; I think.")),
        (WEATHER, Outcome("", (CALL,))),
        ("<|python_tag|>" + WEATHER, Outcome("", (CALL,))),
        ("\n\n" + WEATHER + "\n", Outcome("", (CALL,))),
        (
            WEATHER + '; {"name": "time", "arguments": {}};\n' + WEATHER,
            Outcome("", (CALL, ("time", "{}"), CALL)),
        ),
        ('{"type": "function", "name": "time", "parameters": {"a": "};{"}}', Outcome("", (("time", '{"a": "};{"}'),))),
        (WEATHER + "\nThat is all. ", Outcome("\nThat is all. ", (CALL,))),
        (WEATHER + "; and more", Outcome("; and more", (CALL,))),
        (
            WEATHER + '; {"name": "unknown", "parameters": {}}',
            Outcome('; {"name": "unknown", "parameters": {}}', (CALL,)),
        ),
        (WEATHER[:-5], Outcome("", (("weather", '{"city": "Be'),))),
        (WEATHER[:-1], Outcome("", (CALL,))),
    ],
)
def test_calls_are_told_from_content(text: str, outcome: Outcome) -> None:
    assert parse(make, text) == outcome


@pytest.mark.parametrize(
    "text",
    [
        "Here: " + WEATHER,
        '{"name": "Ada", "age": 36}',
        '{"city": "Bern", "name": "weather", "parameters": {}}',
        '{"name": "weather", "parameters": [1]}',
        '{"name": "weath',
        "[" + WEATHER + "]",
        "{}",
        " {\n",
        "<|python_tag|>print(1)",
        "<|python_tag|><|python_tag|>" + WEATHER,
        "<b>bold</b>",
        "< " + WEATHER,
    ],
)
def test_what_is_no_call_is_content_character_for_character(text: str) -> None:
    assert parse(make, text) == Outcome(text)


def test_another_json_object_streams_once_its_first_name_shows_it() -> None:
    parser = make()
    assert parser.push('{"answer"') == []
    assert parser.push(": ") == [ContentDelta('{"answer": ')]
    assert parser.push('"long') == [ContentDelta('"long')]
