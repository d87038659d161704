from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.bench.load.endpoint import Endpoint
from pennyweight.bench.load.trace import TraceRow
from pennyweight.bench.savings.stream import Drawing, Popularity, Workload, draw_rows, draw_streams, stratified

CHAT = Endpoint("http://127.0.0.1:1", "auto", "chat")


def write(path: Path, *rows: dict[str, object]) -> Path:
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@given(
    count=st.integers(2, 80),
    share=st.floats(0, 0.95),
    popularity=st.sampled_from(["zipf", "uniform"]),
    seed=st.integers(0, 1000),
)
def test_exactly_the_share_of_requests_repeats_an_earlier_one(
    count: int, share: float, popularity: Popularity, seed: int
) -> None:
    repeats = min(round(share * count), count - 1)
    rows = draw_rows(range(100, 200), count, repeats / count, popularity, 1.0, np.random.default_rng(seed))
    assert len(rows) == count
    assert sum(row in rows[:place] for place, row in enumerate(rows)) == repeats
    # Fresh prompts come in their order, each once.
    assert list(dict.fromkeys(rows)) == list(range(100, 100 + count - repeats))
    assert rows == draw_rows(range(100, 200), count, repeats / count, popularity, 1.0, np.random.default_rng(seed))


def test_zipf_repeats_what_was_asked_first_most() -> None:
    def first_share(popularity: Popularity, exponent: float) -> float:
        rows = draw_rows(range(500), 1000, 0.5, popularity, exponent, np.random.default_rng(0))
        return rows.count(0) / len(rows)

    assert first_share("zipf", 2.0) > first_share("zipf", 1.0) > 3 * first_share("uniform", 1.0)


def test_a_share_of_all_and_too_few_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="a repeat share is from 0 to less than 1"):
        draw_rows(range(9), 4, 1.0, "zipf", 1.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="4 prompts are needed and 3 are left"):
        draw_rows(range(3), 4, 0.0, "zipf", 1.0, np.random.default_rng(0))


def test_streams_are_the_same_for_a_seed_and_have_no_prompt_in_common() -> None:
    trace = [TraceRow(at=0.5 * number**1.1, input_tokens=1, output_tokens=1) for number in range(100)]
    drawing = Drawing(10, (0.0, 0.2, 0.5), 4.0)
    rounds, unused = draw_streams(drawing, range(60), trace, 2)
    assert (rounds, unused) == draw_streams(drawing, range(60), trace, 2)
    assert [one.repeats for streams in rounds for one in streams] == [0, 2, 5, 0, 2, 5]
    used = [row for streams in rounds for one in streams for row in set(one.rows)]
    assert sorted([*used, *unused]) == list(range(60))
    other, _ = draw_streams(Drawing(10, (0.0, 0.2, 0.5), 4.0, seed=1), range(60), trace, 2)
    assert other[0][2].rows != rounds[0][2].rows
    assert other[0][0].times != rounds[0][0].times


def test_a_part_of_the_trace_is_compressed_by_the_factor_of_the_whole() -> None:
    trace = [TraceRow(at=float(number), input_tokens=1, output_tokens=1) for number in range(101)]
    drawing = Drawing(5, (0.0,), 4.0)
    assert drawing.arrivals(trace, 0) == pytest.approx([place * drawing.stretch(trace) for place in range(5)])
    assert drawing.stretch(trace) == pytest.approx(101 / 100 / 4)
    assert drawing.arrivals([], 0)[-1] == pytest.approx(5 / 4)
    with pytest.raises(ValueError, match="the trace has 3 requests, and a stream 5"):
        drawing.arrivals(trace[:3], 0)


def test_prompts_are_used_once_though_the_file_has_them_twice(tmp_path: Path) -> None:
    workload = Workload(write(tmp_path, {"prompt": "a"}, {"prompt": "b", "expect": "yes"}, {"turns": ["a", "c"]}), 16)
    assert sorted(workload.distinct(0)) == [0, 1]
    assert workload.distinct(3) == workload.distinct(3)
    (request,) = workload.requests(CHAT, [1], [0.5])
    assert (request.at, request.body["max_tokens"], request.body["temperature"]) == (0.5, 16, 0)
    assert "ignore_eos" not in request.body
    assert (workload.is_right(1, "no"), workload.is_right(1, "yes"), workload.is_right(0, None)) == (False, True, True)
    assert (workload.question(2), workload.characters(2)) == ("a", 1)


def test_token_ids_cannot_be_chatted_with(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="token ids"):
        Workload(write(tmp_path, {"prompt": [1, 2]}), 16)


def test_each_stream_has_its_share_of_prompts_for_the_dear_tier() -> None:
    rows, dear = list(range(100, 160)), set(range(100, 112))
    found = stratified(rows, dear, [20, 10, 15], 0.1, seed=0)
    assert sorted(found) == rows
    assert [sum(row in dear for row in found[start:end]) for start, end in ((0, 20), (20, 30), (30, 45))] == [2, 1, 2]
    assert found == stratified(rows, dear, [20, 10, 15], 0.1, seed=0)
    with pytest.raises(ValueError, match="4 prompts for the dear tier are needed and 2 are left"):
        stratified(rows, {100, 101}, [40], 0.1, seed=0)
