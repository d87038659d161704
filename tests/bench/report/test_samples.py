from __future__ import annotations

from pathlib import Path

import pytest
from fakes.bench_results import serve_result

from pennyweight.bench.report.kinds.samples import (
    Sample,
    cumulative_curve,
    itls,
    read_samples,
    running_over_time,
    ttfts,
)

ANSWERED = Sample(sent=1.0, ended=3.0, first=1.5, arrivals=(1.5, 2.0, 3.0), pieces=(1, 1, 4))
FAILED = Sample(sent=0.0, ended=4.0, error="timeout")


def test_samples_are_read_where_they_were_kept(tmp_path: Path) -> None:
    serve_result(tmp_path, rates=(1,))
    assert len(read_samples(tmp_path, 0)) == 200
    assert read_samples(tmp_path, 1) == []


def test_failed_requests_have_no_latencies() -> None:
    assert ttfts([ANSWERED, FAILED]) == [0.5]


def test_the_tokens_of_a_piece_share_the_wait_for_it() -> None:
    assert itls([ANSWERED, FAILED]) == [0.5, 0.25, 0.25, 0.25, 0.25]


def test_a_curve_ends_at_the_largest_value_and_is_short() -> None:
    x, y = cumulative_curve([float(value) for value in range(10_001)])
    assert (x[0], x[-1], y[0], y[-1]) == (0, 10_000, 0, 1)
    assert len(x) < 700
    assert x[y.index(0.5)] == pytest.approx(5000)


def test_what_is_under_way_is_counted_from_sending_to_end() -> None:
    times, running = running_over_time([ANSWERED, FAILED])
    by_time = dict(zip(times, running, strict=True))
    assert by_time[0] == 1
    assert max(running) == 2
    assert running[-1] == 0
