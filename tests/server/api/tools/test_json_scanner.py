"""The scanner finds the same ends as Python's own JSON reader, wherever the text is cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.api.tools.json_scanner import JsonScanner, ScanState

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
CONTAINERS = st.lists(VALUES) | st.dictionaries(st.text(), VALUES)


def scan(pieces: list[str]) -> tuple[ScanState, int]:
    scanner, total = JsonScanner(), 0
    for piece in pieces:
        end = scanner.scan(piece, 0)
        total += end
        if scanner.state is not ScanState.OPEN:
            break
        assert end == len(piece)
    return scanner.state, total


@given(CONTAINERS, st.booleans(), st.sampled_from([None, 1]), st.text())
def test_a_whole_value_ends_at_its_last_bracket(value: Any, ascii_only: bool, indent: int | None, after: str) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert scan([text + after]) == (ScanState.DONE, len(text))
    assert scan(list(text + after)) == (ScanState.DONE, len(text))


@given(st.text(alphabet='{}[]",:\\u0019-+.eEtrufalsn x\n', max_size=30))
def test_what_is_done_can_be_read_and_what_is_broken_cannot(text: str) -> None:
    text = "[" + text  # a bare number may end anywhere: 1.x is a 1, and more
    state, end = scan([text])
    assert scan(list(text)) == (state, end)
    if state is ScanState.DONE:
        json.loads(text[:end])
    elif state is ScanState.BROKEN:
        with pytest.raises(json.JSONDecodeError):
            json.JSONDecoder().raw_decode(text)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("{]", 1),
        ("{,", 1),
        ('{"a" 1', 5),
        ('{"a": 01}', 7),
        ('{"a": 1.}', 8),
        ('{"a": -}', 7),
        ('{"a": 1e+}', 9),
        ('{"a": tru}', 9),
        ('{"a": NaN}', 6),
        ("{'a': 1}", 1),
        ('{"a": 1,}', 8),
        ("[1,]", 3),
        ("[1 2]", 3),
        ('["\\x"]', 3),
        ('["\\u12g4"]', 6),
        ('["a\nb"]', 3),
        ("}", 0),
    ],
)
def test_it_breaks_at_the_first_character_that_no_json_goes_on_with(text: str, end: int) -> None:
    assert scan([text]) == (ScanState.BROKEN, end)


def test_deep_nesting_does_not_recurse() -> None:
    depth = 100_000
    assert scan(["[" * depth + "]" * depth]) == (ScanState.DONE, 2 * depth)
