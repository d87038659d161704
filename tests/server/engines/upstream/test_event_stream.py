"""Events cut out of bytes, wherever those were cut into pieces, and never more held than allowed."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.engines.upstream.event_stream import EventParser, EventTooLarge

STREAM = (
    b": a comment\n\ndata: one\n\r\n"
    b"event: x\r\nid: 3\r\ndata:two\r\ndata:  three\r\n\r\n\n\n"
    b"retry: 5\ndata\n\ndata: [DONE]\n\n"
)
DATA = [b"one", b"two\n three", b"[DONE]"]


@given(st.lists(st.integers(0, len(STREAM))))
def test_pieces_make_no_difference(cuts: list[int]) -> None:
    parser = EventParser(1000)
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[begin:end] for begin, end in itertools.pairwise(places)]
    assert [data for piece in pieces for data in parser.feed(piece)] == DATA


def test_an_event_that_has_no_end_yet_is_none() -> None:
    parser = EventParser(1000)
    assert parser.feed(b"data: one\n") == []
    assert parser.feed(b"\n") == [b"one"]


@pytest.mark.parametrize("line", [b"data: " + b"x" * 10, b": " + b"x" * 14, b"data: x\n"])
def test_what_is_held_is_bounded(line: bytes) -> None:
    parser = EventParser(100)
    with pytest.raises(EventTooLarge):
        _ = [parser.feed(line) for _ in range(100)]


def test_comments_are_not_held() -> None:
    parser = EventParser(100)
    for _ in range(100):
        assert parser.feed(b": still here\r\n") == []
    assert parser.feed(b"data: x\n\n") == [b"x"]


def test_an_event_of_just_the_bound_is_taken_again_and_again() -> None:
    parser = EventParser(100)
    for _ in range(10):
        assert parser.feed(b"data: " + b"x" * 94 + b"\n\n") == [b"x" * 94]
    with pytest.raises(EventTooLarge):
        parser.feed(b"data: " + b"x" * 95 + b"\n\n")
