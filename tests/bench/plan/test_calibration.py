"""A fit finds the parameters that made the data, and says how sure it is; its file keeps them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pennyweight.bench.load.lengths import Lengths
from pennyweight.bench.plan.calibration import figures, fit
from pennyweight.bench.plan.device import Device
from pennyweight.bench.plan.least_squares import least_squares
from pennyweight.bench.plan.model_shape import ModelShape
from pennyweight.bench.plan.quantisation import QUANTISATIONS
from pennyweight.bench.plan.served import Served
from pennyweight.bench.plan.simulation import EngineLimits
from pennyweight.bench.plan.step_model import StepParameters
from pennyweight.bench.plan.sweep import Point
from pennyweight.bench.plan.workload import make_workload

TRUE = StepParameters(0.8, 0.4, 0.2, 5e-3, 0.8e-3, 8e-3)


def made_by(served: Served, parameters: StepParameters, rate: float | None, clients: int | None, seed: int) -> Point:
    """A load with what its requests met with on an engine of these parameters."""
    lengths = Lengths("lognormal", 128, 77), Lengths("lognormal", 32, 19)
    workload = make_workload(rate or 1.0, 1.0, *lengths, requests=50, longest=4000, seed=seed)
    load = {"mode": "open", "rate": rate} if rate else {"mode": "closed", "concurrency": clients}
    point = Point(str(load), load, clients, workload, measured=None)  # type: ignore[arg-type]
    return dataclasses.replace(point, measured=served.outcome(point, parameters))


@pytest.fixture
def served(small: ModelShape, devices: dict[str, Device]) -> Served:
    return Served(small, QUANTISATIONS[0], devices["epyc-avx2-2-cores"], EngineLimits(64, 128, 100_000))


def test_known_parameters_are_found_again(served: Served) -> None:
    points = [made_by(served, TRUE, rate, None, seed) for seed, rate in enumerate((0.5, 2.0))]
    points += [made_by(served, TRUE, None, clients, clients) for clients in (1, 4, 16)]
    parameters, covariance = fit(served, points)
    deviations = np.sqrt(np.diag(covariance))
    assert parameters.compute_efficiency == pytest.approx(TRUE.compute_efficiency, rel=0.15)
    # What tells parameters apart may be little, but what they come to is what is asked for.
    unseen = made_by(served, TRUE, 1.2, None, seed=9)
    predicted = figures(served.outcome(unseen, parameters))
    for name, measured in figures(unseen.measured).items():
        assert predicted[name] == pytest.approx(measured, rel=0.08), name
    assert deviations[0] < 0.2 < deviations[5]  # compute is seen in every prompt, the way in hardly


def test_a_minimum_is_found_and_its_covariance() -> None:
    x = np.linspace(0, 4, 50)
    noise = np.random.default_rng(0).normal(0, 0.01, 50)

    def residuals(point: np.ndarray) -> np.ndarray:
        return (point[0] * np.exp(-point[1] * x) - 2 * np.exp(-0.5 * x) + noise) / 0.01

    found = least_squares(residuals, np.array([1.0, 1.0]))
    assert np.abs(found.point - [2.0, 0.5]) == pytest.approx([0, 0], abs=0.02)
    assert float(found.residuals @ found.residuals) / 48 == pytest.approx(1, abs=0.4)
    assert np.sqrt(np.diag(found.covariance)).max() < 0.01
