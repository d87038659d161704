"""Constraints that force a call: tool_choice ``required``, or one function by name.

With tool_choice ``auto`` nothing is constrained, not even the arguments of a tool that asks for ``strict``: the model
may answer in plain text, and where it does call, it writes its own format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pennyweight.server.errors import InvalidRequest
from pennyweight.server.types import Constraint, ConstraintKind, Tool

MAX_PARALLEL_CALLS = 16

_NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}

# Keywords of JSON Schema whose value is data, and those whose value has schemas under names of the author's choice.
_DATA = frozenset({"const", "enum", "default", "examples"})
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})


def required_constraint(tools: Sequence[Tool], *, parallel: bool) -> Constraint:
    """An array of one call, or up to MAX_PARALLEL_CALLS: ``[{"name": "f", "parameters": {...}}, ...]``.

    The name comes first, so that the arguments can be streamed. Raises InvalidRequest for parameters that are no object.
    """
    schema = {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_PARALLEL_CALLS if parallel else 1,
        "items": {"anyOf": [_call_schema(tool.name, f"#/$defs/{_key(index)}") for index, tool in enumerate(tools)]},
        "$defs": {
            _key(index): _moved(_parameters(tool, index), f"#/$defs/{_key(index)}") for index, tool in enumerate(tools)
        },
    }
    return Constraint(kind=ConstraintKind.JSON_SCHEMA, value=msgspec.json.encode(schema).decode(), param="tools")


def named_constraint(tools: Sequence[Tool], name: str) -> Constraint:
    """The arguments of the tool of that name, which must be one of ``tools``.

    Raises InvalidRequest for parameters that are no object.
    """
    index = [tool.name for tool in tools].index(name)
    return Constraint(
        kind=ConstraintKind.JSON_SCHEMA,
        value=msgspec.json.encode(_parameters(tools[index], index)).decode(),
        param=_param(index),
    )


def _param(index: int) -> str:
    return f"tools[{index}].function.parameters"


def _key(index: int) -> str:
    return f"tool{index}"


def _call_schema(name: str, parameters: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "parameters": {"$ref": parameters}},
        "required": ["name", "parameters"],
        "additionalProperties": False,
    }


def _parameters(tool: Tool, index: int) -> dict[str, Any]:
    """A tool's schema, held to objects. None at all means that it takes no parameters."""
    if not tool.parameters:
        return _NO_PARAMETERS
    types = tool.parameters.get("type", "object")
    if types != "object" and not (isinstance(types, list) and "object" in types):
        raise InvalidRequest(f"Invalid '{_param(index)}': its type must be 'object'.", param=_param(index))
    return {**tool.parameters, "type": "object"}


def _moved(schema: Any, to: str) -> Any:
    """A schema whose references to itself (``#`` and ``#/...``) are right when it stands at the JSON pointer ``to``.

    A schema with an ``$id`` is a document of its own, to which the references in it are relative wherever it stands.
    """
    if isinstance(schema, list):
        return [_moved(item, to) for item in schema]
    if not isinstance(schema, Mapping) or isinstance(schema.get("$id"), str):
        return schema
    return {keyword: _moved_keyword(keyword, value, to) for keyword, value in schema.items()}


def _moved_keyword(keyword: str, value: Any, to: str) -> Any:
    if keyword in _DATA:
        return value
    if keyword == "$ref" and isinstance(value, str):
        return to + value[1:] if value == "#" or value.startswith("#/") else value
    if keyword in _NAMED_SCHEMAS and isinstance(value, Mapping):
        return {name: _moved(named, to) for name, named in value.items()}
    return _moved(value, to)
