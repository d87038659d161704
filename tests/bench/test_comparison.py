from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from pennyweight.bench.compare.comparison import compare
from pennyweight.bench.compare.measure import LoadSummary, Measurement
from pennyweight.bench.compare.table import make_table

MIB = 1024 * 1024


def measurement(peer: str, variant: str, speed: float, ready: float) -> Measurement:
    load = LoadSummary(
        concurrency=32,
        requests=64,
        prompt_tokens=64,
        output_tokens=64,
        seconds=1.0,
        output_tokens_per_second=speed,
        ttft_p50=1 / speed,
        ttft_p99=2 / speed,
        tpot_p50=None,
    )
    return Measurement(peer, variant, 0, 0.0, ready, ready + 1, (load,), 300 * MIB)


ROUNDS = [
    measurement("ours", "int8", speed=90, ready=1),
    measurement("theirs", "compiled", speed=50, ready=60),
    measurement("theirs", "eager", speed=40, ready=20),
    measurement("ours", "int8", speed=1000, ready=3),
    measurement("ours", "int8", speed=100, ready=2),
    Measurement("theirs", "eager", 1, 0.0, failure="it died"),
]


def test_medians_are_over_the_rounds_of_a_row() -> None:
    ours, compiled, eager = compare(ROUNDS, "theirs")
    assert (ours.peer, ours.variant, ours.rounds) == ("ours", "int8", 3)
    assert ours.medians["output_tokens_per_second@32"] == 100
    assert ours.medians["seconds_to_ready"] == 2
    assert "tpot_p50@32" not in ours.medians
    assert (compiled.variant, eager.variant) == ("compiled", "eager")


def test_ratios_are_to_the_best_that_the_baseline_has_in_each_measure() -> None:
    ours, compiled, eager = compare(ROUNDS, "theirs")
    assert ours.ratios["output_tokens_per_second@32"] == 2
    assert ours.ratios["ttft_p50@32"] == pytest.approx(0.5)
    assert ours.ratios["seconds_to_ready"] == pytest.approx(0.1)
    assert (compiled.ratios["seconds_to_ready"], eager.ratios["seconds_to_ready"]) == (3, 1)


def test_a_failed_round_counts_as_a_failure_and_not_in_the_medians() -> None:
    eager = compare(ROUNDS, "theirs")[2]
    assert (eager.rounds, eager.failures) == (1, ("it died",))
    assert eager.medians["seconds_to_ready"] == 20


def test_without_the_baseline_there_are_no_ratios() -> None:
    assert compare(ROUNDS[:1], "theirs")[0].ratios == {}


def test_the_table_shows_medians_and_ratios() -> None:
    out = StringIO()
    Console(file=out, width=160).print(make_table(compare(ROUNDS, "theirs"), [32], "theirs"))
    text = out.getvalue()
    assert "100 (2.00)" in text
    assert "2.0 (0.10)" in text
    assert "300 (1.00)" in text
    assert "(failed)" in text
