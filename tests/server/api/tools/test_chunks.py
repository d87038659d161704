"""What every parser promises, over texts made of whatever calls are made of, cut anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import pytest
from fakes.tool_client import parse_pieces
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.api.tools.base import ToolParser
from pennyweight.server.api.tools.formats import (
    TOOL_FORMATS,
    named_parser,
    needs_special_tokens,
    required_parser,
    tool_parser,
)
from pennyweight.server.errors import ConfigError

NAMES = ("weather", "time")
MAKERS: dict[str, Callable[[], ToolParser]] = {
    **{format: partial(tool_parser, format, NAMES) for format in sorted(TOOL_FORMATS)},
    "required": partial(required_parser, "hermes", NAMES),
    "named": partial(named_parser, "hermes", "weather"),
}
OBJECTS = st.dictionaries(
    st.text(max_size=4), st.none() | st.integers() | st.text(max_size=8) | st.lists(st.booleans())
)
ARGUMENTS = OBJECTS.map(json.dumps) | OBJECTS.map(lambda value: json.dumps(value, indent=1, ensure_ascii=False))
CALLS = st.builds(
    lambda name, key, arguments: f'{{"name": "{name}", "{key}": {arguments}}}',
    st.sampled_from([*NAMES, "unknown"]),
    st.sampled_from(["arguments", "parameters"]),
    ARGUMENTS,
)
MARKERS = ["<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"]
PIECES = st.sampled_from([*MARKERS, *NAMES, '"name": ', '"arguments": ', *'{}[]<>";, \n\\'])
TEXTS = st.lists(PIECES | CALLS | ARGUMENTS | st.text(max_size=5), max_size=12).map("".join)


@st.composite
def cut_texts(draw: st.DrawFn) -> list[str]:
    text = draw(TEXTS)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@pytest.mark.parametrize("form", MAKERS)
@given(pieces=cut_texts())
def test_where_the_text_is_cut_makes_no_difference(form: str, pieces: list[str]) -> None:
    text = "".join(pieces)
    whole = parse_pieces(MAKERS[form](), [text])
    assert parse_pieces(MAKERS[form](), pieces) == whole
    assert parse_pieces(MAKERS[form](), text) == whole


@pytest.mark.parametrize("form", MAKERS)
@given(text=TEXTS)
def test_content_and_arguments_come_from_the_text_in_its_order(form: str, text: str) -> None:
    outcome = parse_pieces(MAKERS[form](), text)
    assert is_subsequence(outcome.content, text)
    if not outcome.calls:
        assert outcome.content == text
    for name, arguments in outcome.calls:
        assert name in NAMES
        assert arguments == "{}" or arguments in text


@given(st.lists(st.tuples(st.sampled_from(NAMES), ARGUMENTS), min_size=1, max_size=4), st.data())
def test_well_formed_calls_come_back_whole(calls: list[tuple[str, str]], data: st.DataObject) -> None:
    objects = [f'{{"name": "{name}", "parameters": {arguments}}}' for name, arguments in calls]
    texts = {
        "hermes": "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in objects),
        "llama3": "; ".join(objects),
        "mistral": f"[TOOL_CALLS] [{', '.join(objects)}]",
        "required": f"[{','.join(objects)}]",
    }
    form = data.draw(st.sampled_from(sorted(texts)))
    outcome = parse_pieces(MAKERS[form](), texts[form])
    assert outcome.content == ""
    assert outcome.calls == tuple(calls)


@pytest.mark.parametrize(
    ("form", "opening"), [("hermes", "<tool_call>"), ("llama3", ""), ("mistral", "[TOOL_CALLS] ["), ("required", "[")]
)
def test_time_is_linear_in_what_is_held(form: str, opening: str) -> None:
    """Were held text joined or read again for each piece, this would take hours."""
    text = opening + '{"arguments": {"a": "' + "x" * 1_000_000
    assert parse_pieces(MAKERS[form](), text).content == text


def test_time_is_linear_in_what_may_begin_a_marker() -> None:
    text = "<" * 1_000_000
    assert parse_pieces(MAKERS["hermes"](), [text]).content == text


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(ConfigError, match="hermes, llama3, mistral"):
        tool_parser("xml", NAMES)


def test_only_mistral_marks_calls_by_special_tokens() -> None:
    assert {format for format in TOOL_FORMATS if needs_special_tokens(format)} == {"mistral"}


def is_subsequence(part: str, whole: str) -> bool:
    """Whether ``part`` is ``whole`` with characters left out."""
    rest = iter(whole)
    return all(char in rest for char in part)
