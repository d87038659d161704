from __future__ import annotations

import json
from typing import Any

import pytest

from pennyweight.bench.load.answer import read_stream, read_whole

DETAILS = {"prompt_tokens_details": {"cached_tokens": 2}}


def usage(output: int, **more: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": output, **more}}


def event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def text(content: str, **more: Any) -> bytes:
    return event({"choices": [{"index": 0, "text": content}], **more})


def delta(**fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields}]})


END = event(usage(3)) + b"data: [DONE]\n\n"


def test_each_piece_of_text_arrives_when_its_event_was_read_whole() -> None:
    first, second = text("One"), text(" two")
    reads = [(1.0, first[:8]), (2.0, first[8:] + second), (3.0, text(" three")), (3.5, END)]
    answer = read_stream(reads)
    assert answer.arrivals == [2.0, 2.0, 3.0]
    assert answer.texts == ["One", " two", " three"]
    assert answer.pieces == (1, 1, 1)
    assert (answer.prompt_tokens, answer.output_tokens, answer.cached_tokens, answer.error) == (5, 3, None, None)


def test_an_event_without_text_is_no_first_token() -> None:
    reads = [(1.0, text("")), (2.0, text("One")), (3.0, END)]
    assert read_stream(reads).arrivals == [2.0]


def test_in_a_chat_reasoning_and_tool_calls_are_output_and_a_role_is_not() -> None:
    reads = [
        (1.0, delta(role="assistant", content="")),
        (2.0, delta(reasoning_content="So")),
        (3.0, delta(content="Hi")),
        (4.0, delta(tool_calls=[{"index": 0}])),
        (5.0, event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})),
        (5.0, event(usage(3, **DETAILS)) + b"data: [DONE]\n\n"),
    ]
    answer = read_stream(reads)
    assert answer.arrivals == [2.0, 3.0, 4.0]
    assert (answer.finish_reason, answer.cached_tokens, "".join(answer.texts)) == ("tool_calls", 2, "Hi")


def test_tokens_beyond_the_pieces_are_shared_out_by_the_length_of_the_texts() -> None:
    reads = [
        (1.0, text("ab")),
        (2.0, text("abcdefgh")),
        (3.0, text("ab")),
        (4.0, event(usage(9)) + b"data: [DONE]\n\n"),
    ]
    assert read_stream(reads).pieces == (2, 5, 2)


def test_usage_in_each_piece_says_how_many_tokens_it_has() -> None:
    pieces = [
        text(content, usage={"prompt_tokens": 5, "completion_tokens": total})
        for content, total in (("a", 1), ("bcdefgh", 3), ("i", 7))
    ]
    reads = [(float(time), piece) for time, piece in enumerate(pieces)]
    assert read_stream([*reads, (9.0, event(usage(7)) + b"data: [DONE]\n\n")]).pieces == (1, 2, 4)


def test_without_usage_a_piece_of_text_is_a_token() -> None:
    answer = read_stream([(1.0, text("One") + text(" two") + b"data: [DONE]\n\n")])
    assert (answer.output_tokens, answer.pieces, answer.error) == (None, (1, 1), None)


def test_comments_and_carriage_returns_are_no_data() -> None:
    stream = b": ping\r\n\r\n" + text("One").replace(b"\n", b"\r\n") + END
    assert read_stream([(1.0, stream[:20]), (2.0, stream[20:])]).texts == ["One"]


@pytest.mark.parametrize(
    ("stream", "kind", "message"),
    [
        (text("One") + event({"error": {"message": "died"}}), "stream_error", "{'message': 'died'}"),
        (text("One") + event(usage(3)), "incomplete", "unfinished stream"),
        (b"data: [DONE]\n\n", "incomplete", "unfinished stream: 0 pieces"),
        (b"data: {\n\n", "bad_stream", "truncated"),
        (b'data: {"choices": 5}\n\n', "bad_stream", "Expected `array"),
        (b'data: {"error": ' + b"[" * 5000 + b"\n\n", "bad_stream", "recursion"),
        (b"data: \xff{}\n\n", "bad_stream", ""),
        (b"", "incomplete", "unfinished stream"),
    ],
)
def test_a_broken_stream_has_its_kind_of_error(stream: bytes, kind: str, message: str) -> None:
    answer = read_stream([(1.0, stream)])
    assert answer.error == kind
    assert message.lower() in (answer.message or "").lower()


def test_a_whole_answer_has_its_text_and_counts() -> None:
    body = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": usage(2, **DETAILS)["usage"]}
    answer = read_whole(json.dumps(body).encode())
    assert (answer.texts, answer.output_tokens, answer.cached_tokens, answer.finish_reason) == (["Hi"], 2, 2, "stop")


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"<html>", "bad_stream"), (b"{}", "incomplete"), (b'{"error": {"message": "no"}}', "stream_error")],
)
def test_a_whole_answer_that_is_none_has_its_kind_of_error(body: bytes, kind: str) -> None:
    assert read_whole(body).error == kind
