from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from pennyweight.bench.load.choice import Arrivals
from pennyweight.bench.load.load_levels import parse_levels
from pennyweight.bench.load.mode import MAX_CV, ClosedLoop, Mode, OpenLoop


def intervals(mode: OpenLoop, count: int = 20_000, seed: int = 0) -> np.ndarray:
    return np.diff([0.0, *mode.times(count, seed)])


@pytest.mark.parametrize("mode", [OpenLoop(5.0), OpenLoop(5.0, "gamma", 3.0), OpenLoop(5.0, "constant")])
def test_the_last_request_is_due_when_the_rate_says(mode: OpenLoop) -> None:
    assert mode.times(100, 3)[-1] == pytest.approx(20.0)
    assert all(before <= after for before, after in pairwise(mode.times(100, 3)))


@pytest.mark.parametrize(
    ("mode", "cv"), [(OpenLoop(5.0), 1.0), (OpenLoop(5.0, "gamma", 0.5), 0.5), (OpenLoop(5.0, "gamma", 2.0), 2.0)]
)
def test_intervals_vary_as_their_process_says(mode: OpenLoop, cv: float) -> None:
    found = intervals(mode)
    assert found.std() / found.mean() == pytest.approx(cv, rel=0.04)


@pytest.mark.parametrize("cv", [1e-165, 1e-7, MAX_CV])
@pytest.mark.parametrize("count", [1, 100])
def test_any_cv_gives_times_up_to_what_the_rate_says(cv: float, count: int) -> None:
    times = OpenLoop(5.0, "gamma", cv).times(count, 0)
    assert times[-1] == pytest.approx(count / 5)
    assert all(0 <= time <= times[-1] for time in times)


def test_a_poisson_process_has_exponential_intervals() -> None:
    found = intervals(OpenLoop(5.0))
    assert np.mean(found > 0.2) == pytest.approx(np.exp(-1), abs=0.01)


def test_the_same_seed_gives_the_same_times_and_another_gives_others() -> None:
    assert OpenLoop(5.0).times(50, 1) == OpenLoop(5.0).times(50, 1)
    assert OpenLoop(5.0).times(50, 1) != OpenLoop(5.0).times(50, 2)


def test_an_infinite_rate_sends_all_at_once() -> None:
    assert OpenLoop(float("inf")).times(3, 0) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("texts", "levels"),
    [
        (["2"], [2]),
        (["1,2", "2", "4"], [1, 2, 4]),
        (["1:4"], [1, 2, 3, 4]),
        (["0.1:0.3:0.1"], [0.1, 0.2, 0.3]),
        (["inf"], [float("inf")]),
    ],
)
def test_levels_are_numbers_lists_and_ranges(texts: list[str], levels: list[float]) -> None:
    assert parse_levels(texts, "rate") == levels


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "nan", "1:2:3:4", "4:1", "1:1000000"])
def test_what_is_no_level_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"rate|range"):
        parse_levels([text], "rate")


@pytest.mark.parametrize(
    ("asked", "trace_rate", "expected"),
    [
        (Arrivals(rate=["2"]), None, [OpenLoop(2.0)]),
        (Arrivals(rate=["2"], cv=1.0), None, [OpenLoop(2.0)]),
        (Arrivals(rate=["2"], burstiness=0.25), None, [OpenLoop(2.0, "gamma", 2.0)]),
        (Arrivals(rate=["2"], burstiness=float("inf")), None, [OpenLoop(2.0, "constant")]),
        (Arrivals(rate=["2"], max_concurrency=3), None, [OpenLoop(2.0, max_concurrency=3)]),
        (Arrivals(max_concurrency=3), None, [ClosedLoop(3)]),
        (Arrivals(concurrency=["1,8"]), None, [ClosedLoop(1), ClosedLoop(8)]),
        (Arrivals(), 5.0, [OpenLoop(5.0, "trace")]),
        (Arrivals(rate_scale=0.5), 5.0, [OpenLoop(2.5, "trace")]),
        (Arrivals(rate=["1,2"]), 5.0, [OpenLoop(1.0, "trace"), OpenLoop(2.0, "trace")]),
        (Arrivals(rate=["1"], process="poisson"), 5.0, [OpenLoop(1.0)]),
        (Arrivals(concurrency=["4"]), 5.0, [ClosedLoop(4)]),
        (Arrivals(sweep="rate"), None, []),
    ],
)
def test_options_mean_these_loads(asked: Arrivals, trace_rate: float | None, expected: list[Mode]) -> None:
    assert asked.modes(trace_rate) == expected


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (Arrivals(), "say how requests arrive"),
        (Arrivals(rate=["1"], concurrency=["1"]), "--rate is an open loop"),
        (Arrivals(rate=["1"], rate_scale=2.0), "--rate is an open loop"),
        (Arrivals(rate_scale=2.0), "--rate-scale is for a trace"),
        (Arrivals(rate=["1"], process="gamma"), "wants --cv"),
        (Arrivals(rate=["1"], process="poisson", cv=2.0), "for --arrivals gamma"),
        (Arrivals(rate=["1"], process="weekly"), "not weekly"),
        (Arrivals(rate=["1"], cv=2.0, burstiness=1.0), "one of --burstiness and --cv"),
        (Arrivals(rate=["1"], burstiness=0.0), "above 0"),
        (Arrivals(rate=["1"], cv=-1.0), "from 0"),
        (Arrivals(rate=["1"], cv=math.inf), "from 0"),
        (Arrivals(rate=["1"], burstiness=1e-9), "from 0"),
        (Arrivals(concurrency=["1.5"]), "whole numbers"),
        (Arrivals(sweep="all"), "--sweep is rate or concurrency"),
        (Arrivals(sweep="rate", rate=["1"]), "--sweep is rate or concurrency"),
    ],
)
def test_options_that_mean_no_load_say_what_to_do(asked: Arrivals, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        asked.check(is_trace=False)
