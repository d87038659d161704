"""Structured outputs: OpenAI's response_format and vLLM's names, old and new, made into one Constraint."""

from __future__ import annotations

from typing import Any

import msgspec

from pennyweight.server.config import LimitSettings
from pennyweight.server.errors import InvalidRequest, MissingParameter
from pennyweight.server.types import Constraint, ConstraintKind

from .bounds import check_length
from .fields import GenerationFields, ResponseFormat, StructuredOutputs


def output_constraint(fields: GenerationFields, limits: LimitSettings) -> Constraint | None:
    """What the answer's text must match. Raises InvalidRequest when that is asked for twice or is over a limit."""
    found = [
        constraint
        for constraint in (
            _from_response_format(fields.response_format),
            *_from_structured_outputs(fields.structured_outputs),
            _json(fields.guided_json, "guided_json"),
            _text(ConstraintKind.REGEX, fields.guided_regex, "guided_regex"),
            _choice(fields.guided_choice, "guided_choice"),
            _text(ConstraintKind.GRAMMAR, fields.guided_grammar, "guided_grammar"),
        )
        if constraint is not None
    ]
    if len(found) > 1:
        first, second = found[0].param, found[1].param
        raise InvalidRequest(f"'{first}' and '{second}' both constrain the answer; give only one.", param=second)
    for constraint in found:
        check_constraint(constraint, limits)
    return found[0] if found else None


def check_constraint(constraint: Constraint, limits: LimitSettings) -> None:
    """Raise InvalidRequest when a constraint is over the limits."""
    size = len(constraint.value.encode())
    if size > limits.max_schema_bytes:
        raise InvalidRequest(
            f"Invalid '{constraint.param}': {size} bytes are above the maximum of {limits.max_schema_bytes}.",
            param=constraint.param,
        )
    if constraint.kind is ConstraintKind.CHOICE:
        check_length(msgspec.json.decode(constraint.value), limits.max_choices, constraint.param)


def _from_response_format(wanted: ResponseFormat | None) -> Constraint | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return Constraint(kind=ConstraintKind.JSON_OBJECT, param="response_format")
    if wanted.json_schema is None or wanted.json_schema.schema is None:
        param = "response_format.json_schema" + ("" if wanted.json_schema is None else ".schema")
        raise MissingParameter(f"Missing required parameter: '{param}'.", param=param)
    return _json(wanted.json_schema.schema, "response_format.json_schema.schema")


def _from_structured_outputs(wanted: StructuredOutputs | None) -> list[Constraint | None]:
    if wanted is None:
        return []
    return [
        _json(wanted.json, "structured_outputs.json"),
        _text(ConstraintKind.REGEX, wanted.regex, "structured_outputs.regex"),
        _choice(wanted.choice, "structured_outputs.choice"),
        _text(ConstraintKind.GRAMMAR, wanted.grammar, "structured_outputs.grammar"),
        Constraint(kind=ConstraintKind.JSON_OBJECT, param="structured_outputs.json_object")
        if wanted.json_object
        else None,
    ]


def _json(schema: str | dict[str, Any] | None, param: str) -> Constraint | None:
    if schema is None:
        return None
    text = schema if isinstance(schema, str) else msgspec.json.encode(schema).decode()
    return Constraint(kind=ConstraintKind.JSON_SCHEMA, value=text, param=param)


def _text(kind: ConstraintKind, value: str | None, param: str) -> Constraint | None:
    if value is None:
        return None
    if not value:
        raise InvalidRequest(f"Invalid '{param}': it must not be empty.", param=param)
    return Constraint(kind=kind, value=value, param=param)


def _choice(choices: list[str] | None, param: str) -> Constraint | None:
    if choices is None:
        return None
    if not choices or not all(choices):
        raise InvalidRequest(f"Invalid '{param}': it must list at least one text, and no empty one.", param=param)
    return Constraint(kind=ConstraintKind.CHOICE, value=msgspec.json.encode(choices).decode(), param=param)
