"""Nonlinear least squares of a few parameters, for functions that are dear and a little rough, as simulations are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

# Half the width of a difference quotient: wide, because percentiles of a simulation move in small jumps.
DIFFERENCE = 0.05
FIRST_DAMPING = 0.1
LEAST_STEP = 2e-3
LEAST_GAIN = 1e-3


@dataclass(frozen=True)
class Fit:
    """The point found, its residuals, and the covariance of the point if residuals are independent and of deviation 1."""

    point: Vector
    residuals: Vector
    covariance: Vector


def least_squares(
    function: Callable[[Vector], Vector],
    start: Vector,
    *,
    iterations: int = 20,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Fit:
    """Minimise the sum of squares by Levenberg's and Marquardt's method (Marquardt, SIAM J. Appl. Math. 11, 1963).

    ``function`` gives the residuals at a point; ``on_progress`` hears the sum of their squares after each iteration.
    """
    point, residuals = start, function(start)
    damping = FIRST_DAMPING
    jacobian = _jacobian(function, point)
    for _ in range(iterations):
        on_progress(float(residuals @ residuals))
        normal, gradient = jacobian.T @ jacobian, jacobian.T @ residuals
        gain = 0.0
        while damping < 1e6:
            step = -np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
            tried = function(point + step)
            gain = 1 - float(tried @ tried) / float(residuals @ residuals)
            if gain > 0:
                point, residuals = point + step, tried
                damping /= 5
                break
            damping *= 4
        if gain < LEAST_GAIN or np.abs(step).max() < LEAST_STEP:
            break
        jacobian = _jacobian(function, point)
    return Fit(point, residuals, np.linalg.inv(jacobian.T @ jacobian).astype(np.float64))


def _jacobian(function: Callable[[Vector], Vector], point: Vector) -> Vector:
    columns = []
    for index in range(len(point)):
        shift = np.zeros_like(point)
        shift[index] = DIFFERENCE
        columns.append((function(point + shift) - function(point - shift)) / (2 * DIFFERENCE))
    return np.stack(columns, axis=1)
