from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pennyweight.bench.load.bootstrap import clustered_interval, percentile_interval
from pennyweight.bench.load.distribution import distribution
from pennyweight.bench.load.sample import Sample
from pennyweight.bench.load.slo import Slo, parse_slo
from pennyweight.bench.load.summary import Summary, summarise


def sample(sent: float, arrivals: tuple[float, ...] = (), *, tokens: int | None = None, **more: Any) -> Sample:
    """An answer of one token a piece, due when it was sent and ended with its last piece."""
    fields: dict[str, Any] = {
        "index": 0,
        "scheduled": sent,
        "sent": sent,
        "first": arrivals[0] if arrivals else None,
        "arrivals": arrivals,
        "pieces": (1,) * len(arrivals),
        "ended": arrivals[-1] if arrivals else sent,
        "prompt_tokens": 4,
        "output_tokens": len(arrivals) if tokens is None else tokens,
    }
    return Sample(**(fields | more))


def p50(summary: Summary, name: str) -> float:
    found = getattr(summary, name)
    assert found is not None
    return float(found.p50)


def test_throughput_counts_all_tokens_from_the_loads_start_to_the_last_end() -> None:
    samples = [
        sample(0.0, (0.5, 1.0), ended=1.0),
        sample(0.0, (0.7, 4.7), tokens=5, ended=5.0),
        sample(1.0, (2.0,), tokens=3),
    ]
    summary = summarise(samples)
    assert (summary.duration, summary.requests, summary.completed) == (5.0, 3, 3)
    assert (summary.input_tokens, summary.output_tokens) == (12, 10)
    assert summary.request_throughput == pytest.approx(0.6)
    assert summary.output_throughput == pytest.approx(2.0)
    assert summary.total_throughput == pytest.approx(4.4)
    assert p50(summary, "ttft") == pytest.approx(0.7)
    assert p50(summary, "tpot") == pytest.approx(0.5)
    assert (summary.goodput, summary.slo_attainment) == (None, None)


def test_one_token_answers_have_no_time_per_token() -> None:
    summary = summarise([sample(0.0, (1.0,))])
    assert summary.tpot is None
    assert summary.itl is None


def test_intervals_are_pooled_by_token() -> None:
    """Three tokens that came together count three times, each with a third of the wait for them."""
    samples = [sample(0.0, (1.0, 1.3), pieces=(1, 3), tokens=4), sample(0.0, (1.0, 1.5), tokens=2)]
    summary = summarise(samples)
    assert summary.itl is not None
    assert summary.itl.count == 4
    assert summary.itl.mean == pytest.approx((0.3 + 0.5) / 4)
    assert p50(summary, "itl") == pytest.approx(0.1)


def test_a_late_client_shows_in_the_time_from_schedule_and_in_its_lag() -> None:
    summary = summarise([sample(2.0, (2.1,), scheduled=1.5, held=0.2)])
    assert p50(summary, "ttft") == pytest.approx(0.1)
    assert p50(summary, "ttft_scheduled") == pytest.approx(0.6)
    assert p50(summary, "lag") == pytest.approx(0.3)


def test_failures_are_counted_by_kind_and_have_no_latency() -> None:
    samples = [sample(0.0, (1.0,)), *(sample(0.0, error=kind) for kind in ("timeout", "http_5xx", "timeout"))]
    summary = summarise(samples, Slo(ttft=2.0))
    assert (summary.requests, summary.completed, summary.failed) == (4, 1, 3)
    assert summary.errors == {"http_5xx": 1, "timeout": 2}
    assert summary.ttft is not None
    assert summary.ttft.count == 1
    assert summary.slo_attainment == 0.25


def test_a_load_that_failed_altogether_has_a_summary() -> None:
    summary = summarise([sample(0.0, error="connect", ended=1.0)])
    assert (summary.completed, summary.request_throughput, summary.ttft, summary.cached_tokens) == (0, 0.0, None, None)


def test_no_samples_have_no_summary() -> None:
    with pytest.raises(ValueError, match="no request was due"):
        summarise([])


def test_warming_up_and_running_out_are_left_out() -> None:
    samples = [sample(float(at), (at + 0.5, at + 1.5)) for at in range(10)]
    summary = summarise(samples, window=(2.0, 8.0))
    assert (summary.requests, summary.duration) == (7, 6.0)
    # Of the answers that ended between 2 and 8, and of the tokens that came then, also those of answers begun before.
    assert summary.request_throughput == pytest.approx(6 / 6)
    assert summary.output_throughput == pytest.approx(12 / 6)


def test_goodput_counts_what_met_every_limit() -> None:
    samples = [
        sample(0.0, (0.1, 0.2)),
        sample(0.0, (0.1, 1.0)),
        sample(0.0, (0.6, 0.7)),
        sample(0.0, (0.1,), ended=2.0),
    ]
    summary = summarise(samples, Slo(ttft=0.5, tpot=0.5))
    assert summary.slo_attainment == 0.5
    assert summary.goodput == pytest.approx(2 / 2.0)


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ([], None),
        (["ttft:500ms,tpot:50ms"], Slo(ttft=0.5, tpot=0.05)),
        (["ttft:500", "e2el:10000"], Slo(ttft=0.5, e2e=10.0)),
        (["e2e:10s, itl:0.2s"], Slo(e2e=10.0, itl=0.2)),
    ],
)
def test_objectives_are_read_in_our_form_and_in_vllms(terms: list[str], expected: Slo | None) -> None:
    assert parse_slo(terms) == expected


@pytest.mark.parametrize("term", ["ttft", "ttft:fast", "latency:5ms", "ttft:1ms,ttft:2ms", "ttft:-1ms"])
def test_what_is_no_objective_is_refused(term: str) -> None:
    with pytest.raises(ValueError, match=r"objective|two limits"):
        parse_slo([term])


def test_intervals_are_those_of_a_plain_bootstrap() -> None:
    generator = np.random.default_rng(1)
    values = np.sort(generator.lognormal(0, 1, 200))
    for percent in (50, 99):
        drawn = np.percentile(generator.choice(values, (4000, len(values))), percent, axis=1)
        plain = np.percentile(drawn, (2.5, 97.5))
        assert percentile_interval(values, percent, generator) == pytest.approx(plain, rel=0.08)


def test_intervals_hold_the_true_median_as_often_as_they_say() -> None:
    generator = np.random.default_rng(2)
    held = 0
    for _ in range(300):
        low, high = percentile_interval(np.sort(generator.exponential(1.0, 60)), 50, generator)
        held += low <= np.log(2) <= high
    assert 0.91 < held / 300 < 0.99


def test_intervals_of_pooled_values_are_as_wide_as_their_groups_differ() -> None:
    """A thousand tokens of ten answers say as much of the median as ten answers do."""
    generator = np.random.default_rng(3)
    groups = [np.full(100, centre) + generator.normal(0, 1e-3, 100) for centre in generator.uniform(0, 1, 10)]
    [(low, high)] = clustered_interval(groups, (50,), generator)
    alone = percentile_interval(np.sort(np.concatenate(groups)), 50, generator)
    assert high - low > 2 * (alone[1] - alone[0])


def test_the_same_seed_gives_the_same_intervals() -> None:
    values = [float(value) for value in range(30)]
    assert distribution(values, 1) == distribution(values, 1)
    assert distribution(values, 1) != distribution(values, 2)


def test_one_value_is_its_own_interval() -> None:
    found = distribution([2.0], 0)
    assert found is not None
    assert (found.p50, found.p999, found.std, found.p50_interval, found.p99_interval) == (2, 2, 0, (2, 2), (2, 2))
