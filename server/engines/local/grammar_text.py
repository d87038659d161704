"""Constraints in llguidance's own form, the same for every engine that decodes with it.

JSON is written compactly, without free whitespace.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from llguidance import LLMatcher, grammar_from

from pennyweight.server.types import Constraint, ConstraintKind

# Within what JSON's readers take for an integer without loss.
MAX_INTEGER_DIGITS = 15
# A text, regex or comment of Lark, to be left as it is, or a range of repetitions.
_RANGE = re.compile(r'("(?:\\.|[^"\\])*"|/(?:\\.|[^/\\\n])+/|//[^\n]*)|(~\s*\d+)\.\.(\d+)')
# Keywords of JSON Schema whose value is data and no schema.
_DATA = frozenset({"const", "enum", "default", "examples"})

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

# How JSON is written and schemas are read: compactly, and strictly. llguidance's names for it.
JSON_STYLE: JsonCompileOptions = {
    "whitespace_flexible": False,
    "item_separator": ",",
    "key_separator": ":",
    "coerce_one_of": False,
    "lenient": False,
}


def grammar_text(constraint: Constraint) -> str:
    """The constraint in llguidance's own form. Raises ValueError with a reason; most of the checking is the matcher's."""
    match constraint.kind:
        case ConstraintKind.JSON_OBJECT:
            return _json_grammar({"type": "object"})
        case ConstraintKind.JSON_SCHEMA:
            return _json_grammar(json.loads(constraint.value))
        case ConstraintKind.REGEX:
            return LLMatcher.grammar_from_regex(constraint.value)
        case ConstraintKind.CHOICE:
            return _choice_grammar(json.loads(constraint.value))
        case ConstraintKind.GRAMMAR:
            # Lark stays as it is; GBNF, with its "root ::=", is rewritten.
            return grammar_from("grammar", constraint.value)


def _json_grammar(schema: object) -> str:
    if schema is True:
        schema = {}
    elif schema is False:
        raise ValueError("the schema false matches nothing")
    if not isinstance(schema, dict):
        raise ValueError("a JSON Schema is an object or a boolean")
    if "x-guidance" in schema:
        raise ValueError("the keyword x-guidance is not supported")
    return LLMatcher.grammar_from_json_schema(schema, overrides=JSON_STYLE)


def _choice_grammar(choices: Any) -> str:
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, str) for choice in choices):
        raise ValueError("choices are a list of texts")
    return LLMatcher.grammar_from_lark(choice_lark(choices))


def choice_lark(choices: list[str]) -> str:
    """A Lark grammar of texts to choose from."""
    # One terminal, not one for each choice: it may end after the shorter of two where one begins the other.
    texts = " | ".join(json.dumps(choice) for choice in choices)
    return f"start: CHOICE\nCHOICE: {texts}\n"


def styled_json_schema(constraint: Constraint) -> str:
    """The schema of a JSON constraint for another engine's llguidance, as text: it is read and JSON written as ours does it."""
    schema = json.loads(constraint.value) if constraint.kind is ConstraintKind.JSON_SCHEMA else {"type": "object"}
    return json.dumps({**with_bounded_integers({} if schema is True else schema), "x-guidance": JSON_STYLE})


def with_spaced_ranges(lark: str) -> str:
    """A Lark grammar in which a range of repetitions is written ``~0 .. 2``: llguidance before 1.8 takes ``0.`` for a number."""
    return _RANGE.sub(lambda found: found[1] or f"{found[2]} .. {found[3]}", lark)


def with_bounded_integers(schema: Any) -> Any:
    """A schema whose integers have no more than MAX_INTEGER_DIGITS digits where it says nothing of their size.

    For engines without ``NumberBound``: a model that goes on writing digits would never end. Numbers with a fraction can't
    be bounded so.
    """
    if isinstance(schema, list):
        return [with_bounded_integers(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: value if key in _DATA else with_bounded_integers(value) for key, value in schema.items()}
    kinds = found.get("type")
    if kinds == "integer" or (isinstance(kinds, list) and "integer" in kinds and "number" not in kinds):
        largest = 10**MAX_INTEGER_DIGITS - 1
        if "exclusiveMinimum" not in found:
            found.setdefault("minimum", -largest)
        if "exclusiveMaximum" not in found:
            found.setdefault("maximum", largest)
    return found
