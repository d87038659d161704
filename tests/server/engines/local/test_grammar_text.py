"""What is done to constraints for engines that have another llguidance, or none of our bounds."""

from __future__ import annotations

import pytest

from pennyweight.server.engines.local.grammar_text import with_bounded_integers, with_spaced_ranges

LARGEST = 10**15 - 1


@pytest.mark.parametrize(
    ("lark", "spaced"),
    [
        ('start: "a"~0..2', 'start: "a"~0 .. 2'),
        ('start: "~0..2" /~1..2/ // ~3..4', 'start: "~0..2" /~1..2/ // ~3..4'),
        ('start: "\\"~0..2" "b" ~ 1..3', 'start: "\\"~0..2" "b" ~ 1 .. 3'),
        ('start: "a"{0,2} "0..2"', 'start: "a"{0,2} "0..2"'),
    ],
)
def test_ranges_of_repetitions_are_spaced_and_nothing_else(lark: str, spaced: str) -> None:
    assert with_spaced_ranges(lark) == spaced


def test_integers_without_bounds_get_some() -> None:
    bounds = {"minimum": -LARGEST, "maximum": LARGEST}
    assert with_bounded_integers({"type": "integer"}) == {"type": "integer"} | bounds
    assert with_bounded_integers({"type": ["integer", "null"]}) == {"type": ["integer", "null"]} | bounds
    given = {"properties": {"a": {"type": "integer", "minimum": 3}, "b": {"items": [{"type": "integer"}]}}}
    assert with_bounded_integers(given) == {
        "properties": {
            "a": {"type": "integer", "minimum": 3, "maximum": LARGEST},
            "b": {"items": [{"type": "integer"} | bounds]},
        }
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number"},
        {"type": ["number", "integer"]},
        {"enum": [{"type": "integer"}]},
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9},
        True,
    ],
)
def test_what_has_bounds_or_cant_have_them_is_left(schema: object) -> None:
    assert with_bounded_integers(schema) == schema
