from __future__ import annotations

import pytest

from pennyweight.bench.load.latency import percentile, summarise
from pennyweight.bench.load.sample import Sample


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([3.0], 50, 3.0), ([1.0, 2.0], 50, 1.5), ([4.0, 1.0, 2.0], 50, 2.0), ([4.0, 1.0], 0, 1.0), ([4.0, 1.0], 100, 4.0)],
)
def test_percentiles_lie_between_neighbours(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile([], 50)


def test_throughput_counts_all_tokens_from_the_first_request_to_the_last_end() -> None:
    samples = [
        Sample(sent=10.0, arrivals=(10.5, 11.0), ended=11.0, prompt_tokens=4, output_tokens=2),
        Sample(sent=10.0, arrivals=(10.7, 14.7), ended=15.0, prompt_tokens=4, output_tokens=5),
        Sample(sent=11.0, arrivals=(12.0,), ended=12.0, prompt_tokens=4, output_tokens=3),
    ]
    summary = summarise(samples, concurrency=2)
    assert summary.seconds == 5.0
    assert (summary.requests, summary.prompt_tokens, summary.output_tokens) == (3, 12, 10)
    assert summary.output_tokens_per_second == 2.0
    assert summary.ttft_p50 == pytest.approx(0.7)
    assert summary.tpot_p50 == pytest.approx(0.5)


def test_one_token_answers_have_no_time_per_token() -> None:
    sample = Sample(sent=0.0, arrivals=(1.0,), ended=1.0, prompt_tokens=4, output_tokens=1)
    assert summarise([sample], concurrency=1).tpot_p50 is None
