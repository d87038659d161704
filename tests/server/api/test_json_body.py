"""What a lenient JSON parser would let pass is refused, with its path."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.api.json_body import parse_object
from pennyweight.server.errors import InvalidRequest


def parse(body: bytes, *, max_depth: int = 8, max_values: int = 1000) -> dict[str, object]:
    return parse_object(body, max_depth=max_depth, max_values=max_values)


def refusal(body: bytes, *, max_depth: int = 8, max_values: int = 1000) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(body, max_depth=max_depth, max_values=max_values)
    return caught.value


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a":1,}', "not valid JSON"),
        (b'{"a":1} x', "not valid JSON"),
        (b"{'a':1}", "not valid JSON"),
        (b'{"a":01}', "not valid JSON"),
        (b'{"a":"\n"}', "not valid JSON"),
        (b'{"a":"\\x"}', "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'"a"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "-Infinity"),
        (b'{"a":1e999}', "too large"),
        (b'{"a":-1e999}', "too large"),
        (b'{"a":%b}' % (b"9" * 5000), "too large"),
        (b'{"a":"\xff"}', "not valid UTF-8 (byte 6)"),
        (b'{"a":"\xed\xa0\x80"}', "not valid UTF-8"),
        ('{"a":1}'.encode("utf-16"), "not valid UTF-8"),
        (b'\xef\xbb\xbf{"a":1}', "byte order mark"),
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes, told: str) -> None:
    assert told in refusal(body).message


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"a":1,"a":1}', "a"),
        (b'{"x":[0,{"a":{"b":1,"\\u0062":2}}]}', "x[1].a.b"),
        (b'{"messages":[{"content":"a\\ud800"}]}', "messages[0].content"),
        (b'{"a":"\\udc00\\ud800"}', "a"),
        (b'{"a":{"\\ud800":1}}', "a.\ufffd"),
    ],
)
def test_duplicates_and_surrogates_are_told_by_their_path(body: bytes, path: str) -> None:
    assert refusal(body).param == path


def test_pairs_of_surrogates_are_characters() -> None:
    assert parse(b'{"a":"\\ud83d\\ude00 \\\\ud800"}') == {"a": "\U0001f600 \\ud800"}


def test_depth_is_counted_outside_of_strings() -> None:
    assert parse(json.dumps({"a": "[" * 10_000}).encode())
    assert parse(b'{"a":' + b"[" * 7 + b"]" * 7 + b"}")
    assert "deeper than 8" in refusal(b'{"a":' + b"[" * 8 + b"]" * 8 + b"}").message
    assert "deeper than 8" in refusal(b'{"a":' + b"[" * 100_000).message
    assert "deeper than 8" in refusal(b'{"a":' * 1000).message


def test_values_are_counted_outside_of_strings() -> None:
    assert parse(json.dumps({"a": "," * 5000}).encode())
    assert "more than 1000" in refusal(b'{"a":[' + b"0," * 1000 + b"0]}").message


@pytest.mark.parametrize("text", [b"", b"\\\\", b"\\n,", b'\\"', b"[,"])
def test_strings_are_values_whatever_is_in_them(text: bytes) -> None:
    string = b'"' + text + b'"'
    assert parse(b'{"a":[' + b",".join([string] * 999) + b"]}")
    assert "more than 1000" in refusal(b'{"a":[' + b",".join([string] * 1001) + b"]}").message
    assert "more than 1000" in refusal(b'{"a":[' + b",".join([string] * 100_000) + b"]}").message


def test_as_many_names_and_strings_as_values_are_allowed() -> None:
    assert parse(json.dumps({str(number): "x" for number in range(1000)}).encode(), max_values=1001)


def test_escaped_quotes_are_no_strings() -> None:
    for text in ('"' * 100_000, '\\"' * 100_000, "\\" * 100_001 + '"' * 100_000):
        assert parse(json.dumps({"a": text, "b": "[" * 100}).encode()) == {"a": text, "b": "[" * 100}


def test_empty_arrays_side_by_side_are_not_depth() -> None:
    assert parse(b'{"a":[' + b",".join([b"[]"] * 500) + b"]}")


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        assert isinstance(parse(body), dict)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), _JSON, max_size=4), st.booleans())
def test_what_json_can_say_is_understood(value: dict[str, object], ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert parse(body, max_depth=64) == value
