from __future__ import annotations

import numpy as np
import pytest

from pennyweight.quantize.quality.bootstrap import Resamples


def test_an_interval_of_a_mean_is_about_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(10, 2, 400)
    found = Resamples(400, seed=1).mean(values, np.ones(400))
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert found.high - found.value == pytest.approx(half, rel=0.15)
    assert found.value - found.low == pytest.approx(half, rel=0.15)


def test_large_clusters_count_for_their_size() -> None:
    assert Resamples(2).mean([90, 0], [90, 10]).value == pytest.approx(0.9)


def test_the_same_seed_gives_the_same_interval() -> None:
    one, same, other = (Resamples(30, seed).mean(np.arange(30), np.ones(30)) for seed in (5, 5, 6))
    assert one == same != other
