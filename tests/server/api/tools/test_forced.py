"""Answers that a constraint made into calls."""

from __future__ import annotations

import pytest
from fakes.tool_client import Outcome, parse

from pennyweight.server.api.tools.base import ArgumentsDelta, CallStarted
from pennyweight.server.api.tools.json_array import JsonArrayParser
from pennyweight.server.api.tools.named_call import NamedCallParser

WEATHER = '{"name": "weather", "parameters": {"city": "Bern"}}'
CALL = ("weather", '{"city": "Bern"}')


def make_array() -> JsonArrayParser:
    return JsonArrayParser({"weather", "time"})


def make_named() -> NamedCallParser:
    return NamedCallParser("weather")


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (f"[{WEATHER}]", Outcome("", (CALL,))),
        (f' [ {WEATHER} , {{"name":"time","parameters":{{}}}} ] ', Outcome("", (CALL, ("time", "{}")))),
        (f"[{WEATHER}", Outcome("", (CALL,))),
        (f"[{WEATHER[:-5]}", Outcome("", (("weather", '{"city": "Be'),))),
        ('[{"name": "wea', Outcome('[{"name": "wea')),
        (f"[{WEATHER}, ", Outcome(", ", (CALL,))),
        ("[]", Outcome("[]")),
        ("", Outcome("")),
        ("I would rather not.", Outcome("I would rather not.")),
        (f"[{WEATHER}] done", Outcome(" done", (CALL,))),
    ],
)
def test_a_required_call_comes_as_an_array(text: str, outcome: Outcome) -> None:
    assert parse(make_array, text) == outcome


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ('{"city": "Bern"}', Outcome("", (CALL,))),
        (' {"city": "Bern"}\n', Outcome("", (CALL,))),
        ('{"city": {"name": "}"}', Outcome("", (("weather", '{"city": {"name": "}"}'),))),
        ("", Outcome("")),
        ("[1]", Outcome("[1]")),
        ('{"city": }', Outcome("}", (("weather", '{"city": '),))),
        ("{} and", Outcome(" and", (("weather", "{}"),))),
    ],
)
def test_a_named_call_is_its_arguments(text: str, outcome: Outcome) -> None:
    assert parse(make_named, text) == outcome


def test_forced_calls_stream() -> None:
    named = make_named()
    assert isinstance(named.push("{")[0], CallStarted)
    assert named.push('"city"') == [ArgumentsDelta(0, '"city"')]
    array = make_array()
    assert array.push('[{"name": "weather", "parameters": ') == []
    assert isinstance(array.push("{")[0], CallStarted)
    assert array.push('"city"') == [ArgumentsDelta(0, '"city"')]
