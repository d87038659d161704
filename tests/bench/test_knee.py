from __future__ import annotations

import numpy as np
import pytest

from pennyweight.bench.load.knee import find_knee


def test_the_knee_of_a_saturating_server_is_its_capacity() -> None:
    loads = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert find_knee(loads, [min(load, 4.0) for load in loads]) == 3


def test_noise_does_not_move_the_knee_far() -> None:
    generator = np.random.default_rng(0)
    loads = [float(load) for load in range(1, 13)]
    for _ in range(50):
        found = find_knee(loads, [min(load, 6.0) * generator.normal(1, 0.01) for load in loads])
        assert found in (4, 5, 6)


def test_throughput_that_falls_beyond_its_peak_has_its_knee_at_the_peak() -> None:
    assert find_knee([1, 2, 3, 4, 5, 6], [1, 2, 3, 2.5, 2, 1.5]) == 2


def test_doubling_concurrency_has_its_knee_where_the_gain_ends() -> None:
    assert find_knee([1, 2, 4, 8, 16, 32, 64], [50, 95, 180, 300, 340, 350, 352]) == 3


@pytest.mark.parametrize(
    ("loads", "throughputs"),
    [([1, 2, 3, 4], [1, 2, 3, 4]), ([1, 2], [1, 1]), ([1, 2, 3], [0, 0, 0]), ([1, 2, 3, 4], [1, 2.02, 2.98, 4])],
)
def test_a_curve_that_does_not_bend_has_no_knee(loads: list[float], throughputs: list[float]) -> None:
    assert find_knee(loads, throughputs) is None
