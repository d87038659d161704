from __future__ import annotations

import json
from typing import Any

import pytest

from pennyweight.bench.load.sample import BadAnswer, read_sample

USAGE = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}


def event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def text(content: str) -> bytes:
    return event({"choices": [{"index": 0, "text": content}]})


def test_each_piece_of_text_arrives_when_its_event_was_read_whole() -> None:
    first, second = text("One"), text(" two")
    reads = [
        (1.0, first[:8]),
        (2.0, first[8:] + second),
        (3.0, text(" three")),
        (3.5, event(USAGE) + b"data: [DONE]\n\n"),
    ]
    sample = read_sample(0.5, reads, 4.0)
    assert sample.arrivals == (2.0, 2.0, 3.0)
    assert sample.ttft == 1.5
    assert sample.tpot == 0.5
    assert (sample.prompt_tokens, sample.output_tokens) == (5, 3)


def test_an_event_without_text_is_no_first_token() -> None:
    reads = [(1.0, text("")), (2.0, text("One")), (3.0, event(USAGE) + b"data: [DONE]\n\n")]
    assert read_sample(0.0, reads, 3.0).ttft == 2.0


def test_one_token_has_no_time_per_token_after_it() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}
    assert read_sample(0.0, [(1.0, text("One") + event(usage) + b"data: [DONE]\n\n")], 1.0).tpot is None


@pytest.mark.parametrize(
    ("stream", "complaint"),
    [
        (text("One") + event({"error": {"message": "died"}}), "an error in the stream: {'message': 'died'}"),
        (text("One") + event(USAGE), "unfinished stream"),
        (text("One") + b"data: [DONE]\n\n", "unfinished stream"),
        (event(USAGE) + b"data: [DONE]\n\n", "unfinished stream: 0 pieces"),
        (b"data: {\n\n", "no JSON"),
        (b"", "unfinished stream"),
    ],
)
def test_a_broken_stream_is_no_sample(stream: bytes, complaint: str) -> None:
    with pytest.raises(BadAnswer, match=complaint):
        read_sample(0.0, [(1.0, stream)], 1.0)
