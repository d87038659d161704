"""Calls between <tool_call> tags, among content."""

from __future__ import annotations

import json

import pytest
from fakes.tool_client import Outcome, parse

from pennyweight.server.api.tools.base import ArgumentsDelta, CallStarted, ContentDelta
from pennyweight.server.api.tools.hermes import HermesParser

WEATHER = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>'
TIME = '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>'


def make() -> HermesParser:
    return HermesParser({"weather", "time"})


def call(arguments: str, name: str = "weather") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("", Outcome("")),
        ("No tool is needed. 1 < 2.", Outcome("No tool is needed. 1 < 2.")),
        (" \n", Outcome(" \n")),
        (WEATHER, Outcome("", (("weather", '{"city": "Bern"}'),))),
        ("\n\n" + WEATHER + "\n", Outcome("", (("weather", '{"city": "Bern"}'),))),
        (f"{WEATHER}\n{TIME}", Outcome("", (("weather", '{"city": "Bern"}'), ("time", "{}")))),
        (WEATHER + TIME, Outcome("", (("weather", '{"city": "Bern"}'), ("time", "{}")))),
        (
            f"Let me look.\n{WEATHER}\nAnd now: {TIME}\n Done.\n",
            Outcome("Let me look.\n\nAnd now: \n Done.\n", (("weather", '{"city": "Bern"}'), ("time", "{}"))),
        ),
        (f"<<{TIME}", Outcome("<<", (("time", "{}"),))),
    ],
)
def test_calls_are_told_from_content(text: str, outcome: Outcome) -> None:
    assert parse(make, text) == outcome


@pytest.mark.parametrize(
    "arguments",
    [
        "{}",
        '{"a": {"b": [{"c": "}"}, "]", 1.5e-3, true, null]}}',
        '{"text": "</tool_call> <tool_call> {\\"name\\": \\"time\\"}"}',
        '{"text": "\\u00fc \\ud83d\\ude00 \\\\\\" 😀"}',
        '{\n  "city" :\t"Bern"\n}',
    ],
)
def test_arguments_come_out_as_they_were_written(arguments: str) -> None:
    assert parse(make, call(arguments)) == Outcome("", (("weather", arguments),))
    json.loads(arguments)


@pytest.mark.parametrize(
    "text",
    [
        '{"arguments": {"city": "Bern"}, "name": "weather"}',
        '{"id": 7, "type": "function", "name": "weather", "parameters": {"city": "Bern"}}',
        '{"type": {"a": [1]}, "arguments": {"city": "Bern"}, "name": "weather", "id": "x"}',
        '{"n\\u0061me": "we\\u0061ther", "arguments": {"city": "Bern"}}',
        ' {"name":"weather","arguments":{"city": "Bern"}} ',
    ],
)
def test_members_come_in_any_order(text: str) -> None:
    assert parse(make, f"<tool_call>{text}</tool_call>") == Outcome("", (("weather", '{"city": "Bern"}'),))


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert parse(make, '<tool_call>{"name": "time"}</tool_call>') == Outcome("", (("time", "{}"),))


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>",
        "<tool_call>\n</tool_call>",
        "<tool_call>not JSON</tool_call>",
        "<tool_call>{}</tool_call>",
        "<tool_call>[]</tool_call>",
        '<tool_call>{"name": "weather" "arguments": {}}</tool_call>',
        '<tool_call>{"name": 1, "arguments": {}}</tool_call>',
        '<tool_call>{"name": "weather", "name": "weather"}</tool_call>',
        '<tool_call>{"name": "weather", "arguments": "{}"}</tool_call>',
        '<tool_call>{"name": "weather", "arguments": null}</tool_call>',
        '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>',
        '<tool_call>{"arguments": {"city": "Bern"}}</tool_call>',
        '<tool_call>{"arguments": {}, "arguments": {}, "name": "time"}</tool_call>',
        '<tool_call>{"arguments": {"city": Bern}, "name": "weather"}</tool_call>',
        '<tool_call>{"function": "weather", "arguments": {}}</tool_call>',
        '<tool_call>\n{"na',
        '<tool_call>\n{"name": "weath',
        '<tool_call>\n{"name": "weather", "argu',
        '<tool_call>\n{"arguments": {"city": "Bern"}, "name": ',
        "\n<tool_ca",
        "</tool_call>\n",
    ],
)
def test_what_is_no_call_is_content_character_for_character(text: str) -> None:
    assert parse(make, text) == Outcome(text)
    assert parse(make, text + "\n" + TIME) == Outcome(text + "\n", (("time", "{}"),))
    assert parse(make, f"{TIME}\n{text}") == Outcome(f"\n{text}", (("time", "{}"),))


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"name": "weather", "arguments": {"city": "Be', '{"city": "Be'),
        ('{"name": "weather", "arguments": {', "{"),
        ('{"name": "weather", "arguments": {}', "{}"),
        ('{"name": "weather", "arguments": {}}', "{}"),
        ('{"name": "weather", "arguments": {}}\n</tool', "{}"),
        ('{"arguments": {}, "name": "weather"', "{}"),
    ],
)
def test_a_call_cut_off_in_its_arguments_or_later_keeps_what_it_has(text: str, arguments: str) -> None:
    assert parse(make, "<tool_call>" + text) == Outcome("", (("weather", arguments),))


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (
            '{"name": "time", "arguments": {"a": oops}}</tool_call>',
            Outcome("oops}}</tool_call>", (("time", '{"a": '),)),
        ),
        ('{"name": "time", "arguments": {"a": "\n', Outcome("\n", (("time", '{"a": "'),))),
        ('{"name": "time", "arguments": {}</tool_call>', Outcome("</tool_call>", (("time", "{}"),))),
        ('{"name": "time", "arguments": {}}}', Outcome("}", (("time", "{}"),))),
        ('{"name": "time", "arguments": {}}\n  More.', Outcome("\n  More.", (("time", "{}"),))),
        ('{"name": "time", "arguments": {}, "x": 1}', Outcome(', "x": 1}', (("time", "{}"),))),
    ],
)
def test_a_call_that_breaks_after_its_arguments_began_stands_and_the_rest_is_content(
    text: str, outcome: Outcome
) -> None:
    assert parse(make, "<tool_call>" + text) == outcome


def test_content_and_arguments_come_at_once() -> None:
    parser = make()
    assert parser.push("Look: a <tool") == [ContentDelta("Look: a ")]
    assert parser.push("box> ") == [ContentDelta("<toolbox> ")]
    assert parser.push('<tool_call>{"name": "weather", "arguments": ') == []
    started, *deltas = parser.push('{"ci')
    assert isinstance(started, CallStarted)
    assert (started.index, started.name) == (0, "weather")
    assert deltas == [ArgumentsDelta(0, '{"ci')]
    assert parser.push('ty": "') == [ArgumentsDelta(0, 'ty": "')]
    assert parser.push('"}} ') == [ArgumentsDelta(0, '"}')]
    assert parser.push("</tool_call> ") == []
    assert parser.finish() == []


def test_ids_are_openais() -> None:
    started = make().push(TIME)[0]
    assert isinstance(started, CallStarted)
    assert started.id.startswith("call_")
    assert len(started.id) == 29
