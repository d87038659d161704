"""The schemas that force calls, against a validator, and against the grammar engine that enforces them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.tool_client import Outcome, parse
from jsonschema import Draft202012Validator
from llguidance import LLMatcher, LLTokenizer

from pennyweight.server.api.tools.constraint import MAX_PARALLEL_CALLS, named_constraint, required_constraint
from pennyweight.server.api.tools.json_array import JsonArrayParser
from pennyweight.server.errors import InvalidRequest
from pennyweight.server.types import Constraint, ConstraintKind, Tool

WEATHER = Tool(
    name="weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
TIME = Tool(name="time")
TREE = Tool(
    name="tree",
    parameters={
        "$defs": {"node": {"properties": {"left": {"$ref": "#/$defs/node"}, "leaf": {"type": "integer"}}}},
        "type": "object",
        "properties": {
            "root": {"$ref": "#/$defs/node"},
            "again": {"$ref": "#"},
            "const": {"$ref": "#/properties/$ref"},
            "$ref": {"const": {"$ref": "#/$defs/node"}},
        },
        "additionalProperties": False,
    },
)


def schema_of(constraint: Constraint) -> dict[str, Any]:
    assert constraint.kind is ConstraintKind.JSON_SCHEMA
    schema: dict[str, Any] = json.loads(constraint.value)
    Draft202012Validator.check_schema(schema)
    return schema


def accepts(constraint: Constraint, value: Any) -> bool:
    """Whether a value is valid; fails where the grammar engine would not agree."""
    valid: bool = Draft202012Validator(schema_of(constraint)).is_valid(value)
    # The engine's own byte tokenizer: token ids are byte values.
    matcher = LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_json_schema(constraint.value))
    assert not matcher.is_error(), matcher.get_error()
    text = json.dumps(value).encode()
    assert (matcher.try_consume_tokens(list(text)) == len(text) and matcher.is_accepting()) == valid
    return valid


def call(name: str, parameters: Any) -> dict[str, Any]:
    return {"name": name, "parameters": parameters}


@pytest.mark.parametrize(
    ("calls", "valid"),
    [
        ([call("weather", {"city": "Bern"})], True),
        ([call("time", {})], True),
        ([call("time", {}), call("weather", {"city": ""})], True),
        ([call("time", {})] * MAX_PARALLEL_CALLS, True),
        ([call("time", {})] * (MAX_PARALLEL_CALLS + 1), False),
        ([], False),
        ([call("unknown", {})], False),
        ([call("weather", {})], False),
        ([call("time", {"city": "Bern"})], False),
        ([call("weather", [])], False),
        ([{"name": "time"}], False),
        ([{"name": "time", "parameters": {}, "more": 1}], False),
        (call("time", {}), False),
    ],
)
def test_required_calls_are_an_array_of_calls(calls: Any, valid: bool) -> None:
    assert accepts(required_constraint([WEATHER, TIME], parallel=True), calls) is valid


def test_one_call_only_where_they_must_not_be_parallel() -> None:
    constraint = required_constraint([WEATHER, TIME], parallel=False)
    assert accepts(constraint, [call("time", {})])
    assert not accepts(constraint, [call("time", {}), call("time", {})])


@pytest.mark.parametrize(
    ("parameters", "valid"),
    [
        ({"root": {"left": {"left": {"leaf": 1}}}}, True),
        ({"root": {"left": {"left": {"leaf": "1"}}}}, False),
        ({"again": {"again": {"root": {"leaf": 2}}}}, True),
        ({"again": {"again": {"root": {"leaf": "2"}}}}, False),
        ({"again": []}, False),
        ({"const": {"$ref": "#/$defs/node"}}, True),
        ({"const": {"$ref": "#/$defs/tool1/$defs/node"}}, False),
        ({"$ref": {"$ref": "#/$defs/node"}}, True),
    ],
)
def test_references_inside_a_tools_schema_still_resolve(parameters: Any, valid: bool) -> None:
    assert accepts(required_constraint([WEATHER, TREE], parallel=True), [call("tree", parameters)]) is valid
    assert accepts(named_constraint([WEATHER, TREE], "tree"), parameters) is valid


def test_a_schema_with_an_id_of_its_own_keeps_its_references() -> None:
    inner = {"$id": "https://schemas.test/inner", "$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n"}
    tool = Tool(name="f", parameters={"properties": {"a": inner}, "required": ["a"]})
    assert accepts(required_constraint([tool], parallel=False), [call("f", {"a": 1})])
    assert not accepts(required_constraint([tool], parallel=False), [call("f", {"a": "1"})])


@pytest.mark.parametrize(
    ("parameters", "value", "valid"),
    [
        ({}, {}, True),
        ({}, {"a": 1}, False),
        ({"properties": {"a": {"type": "integer"}}}, {"a": 1}, True),
        ({"properties": {"a": {"type": "integer"}}}, [], False),
        ({"type": ["object", "null"]}, None, False),
        ({"$defs": {"p": {"properties": {"a": {"const": 1}}}}, "$ref": "#/$defs/p"}, {"a": 1}, True),
        ({"$defs": {"p": {"properties": {"a": {"const": 1}}}}, "$ref": "#/$defs/p"}, {"a": 2}, False),
    ],
)
def test_a_named_call_is_an_object_of_the_functions_schema(parameters: Any, value: Any, valid: bool) -> None:
    assert accepts(named_constraint([Tool(name="f", parameters=parameters)], "f"), value) is valid


def test_parameters_that_are_no_object_are_refused_by_their_path() -> None:
    tools = [TIME, Tool(name="f", parameters={"type": "string"})]
    with pytest.raises(InvalidRequest) as named:
        named_constraint(tools, "f")
    with pytest.raises(InvalidRequest) as required:
        required_constraint(tools, parallel=True)
    assert named.value.param == required.value.param == "tools[1].function.parameters"


def test_constraints_name_the_parameter_that_they_come_from() -> None:
    assert named_constraint([TIME, WEATHER], "weather").param == "tools[1].function.parameters"
    assert required_constraint([TIME, WEATHER], parallel=True).param == "tools"


def test_what_the_constraint_lets_through_is_what_the_parser_reads() -> None:
    calls = [call("tree", {"root": {"leaf": 1}}), call("time", {})]
    assert accepts(required_constraint([TREE, TIME], parallel=True), calls)
    outcome = parse(lambda: JsonArrayParser({"tree", "time"}), json.dumps(calls))
    assert outcome == Outcome("", (("tree", '{"root": {"leaf": 1}}'), ("time", "{}")))
