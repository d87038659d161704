"""The step model's parameters as a measured sweep has them, and the file that keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from pennyweight.bench.machine import Machine
from pennyweight.server.errors import ConfigError

from .least_squares import Vector, least_squares
from .outcome import Outcome
from .served import Served
from .step_model import DEFAULTS, FITTED, StepParameters, scaled
from .sweep import Point, Sweep

# How far a good model may be off, as deviations of logarithms: a p99 rests on a few requests, throughput on all.
TOLERANCES: Mapping[str, float] = {
    "throughput": 0.05,
    "ttft_p50": 0.1,
    "ttft_p90": 0.1,
    "ttft_p99": 0.15,
    "tpot_p50": 0.1,
    "tpot_p90": 0.1,
}
# How unsure the defaults are: a parameter that a load doesn't show stays where it was.
PRIOR_DEVIATION = 1.5
# What a device without a calibration may be off by: the deviation of each parameter's logarithm.
UNCALIBRATED_DEVIATION = 0.25
# Beyond this a residual counts linearly (Huber), so that one disturbed load doesn't bend the fit.
LARGE_RESIDUAL = 2.0


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters with the covariance of the logarithms of those that were fitted, and what they were fitted to.

    ``errors`` are the medians of the relative errors of loads that the fit didn't see, by metric: what the model was last
    measured to be off by. ``kind`` is the kind of device that the parameters are for.
    """

    kind: str
    device: str
    model: str
    quantisation: str
    date: str
    machine: Machine
    versions: Mapping[str, str]
    points: int
    parameters: StepParameters
    covariance: list[list[float]]
    errors: Mapping[str, float]

    def drawn(self, generator: np.random.Generator) -> StepParameters:
        """Other parameters that explain the measurements about as well."""
        return _drawn(self.parameters, np.array(self.covariance), generator)


def fit(
    served: Served, points: Sequence[Point], on_progress: Callable[[float], None] = lambda _: None
) -> tuple[StepParameters, Vector]:
    """The parameters under which the simulated loads come nearest to the measured ones, and their logarithms' covariance."""
    start = DEFAULTS[served.device.kind]
    measured = [figures(point.measured) for point in points]
    tolerances = np.array(list(TOLERANCES.values()))

    def residuals(powers: Vector) -> Vector:
        parameters = scaled(start, dict(zip(FITTED, powers.tolist(), strict=True)))
        found = [powers / PRIOR_DEVIATION]
        for point, of_point in zip(points, measured, strict=True):
            simulated = figures(served.outcome(point, parameters))
            off = np.array([_log_ratio(simulated[name], of_point[name]) for name in TOLERANCES])
            found.append(_tamed(off / tolerances))
        return np.concatenate(found)

    # Machines differ by factors: first how fast it is in all, then each parameter by itself.
    signs = np.array([1.0 if name.endswith("efficiency") else -1.0 for name in FITTED])
    rough = min(
        (signs * power for power in np.arange(-2.0, 1.01, 0.5)), key=lambda at: float(np.sum(residuals(at) ** 2))
    )
    found = least_squares(residuals, rough, on_progress=on_progress)
    # The tolerances are a guess: what is left over says how large deviations really are.
    left = found.residuals[len(FITTED) :]
    spread = max(1.0, float(left @ left) / max(1, len(left) - len(FITTED)))
    return scaled(start, dict(zip(FITTED, found.point.tolist(), strict=True))), found.covariance * spread


def calibrate(
    served: Served, sweep: Sweep, errors: Mapping[str, float], on_progress: Callable[[float], None] = lambda _: None
) -> Calibration:
    """Fitted to all loads of a sweep; ``errors`` are what a validation on parts of it measured."""
    parameters, covariance = fit(served, sweep.points, on_progress)
    return Calibration(
        kind=served.device.kind,
        device=served.device.name,
        model=served.shape.name,
        quantisation=served.quantisation.name,
        date=sweep.last.finished,
        machine=sweep.last.machine,
        versions=sweep.last.versions,
        points=len(sweep.points),
        parameters=parameters,
        covariance=covariance.tolist(),
        errors=errors,
    )


def figures(outcome: Outcome) -> dict[str, float]:
    """What a fit and its validation look at: tokens per second, and seconds."""
    return {
        "throughput": outcome.output_throughput,
        "ttft_p50": outcome.percentile("ttft", 50),
        "ttft_p90": outcome.percentile("ttft", 90),
        "ttft_p99": outcome.percentile("ttft", 99),
        "tpot_p50": outcome.percentile("tpot", 50),
        "tpot_p90": outcome.percentile("tpot", 90),
    }


def uncalibrated_draw(kind: str, generator: np.random.Generator) -> StepParameters:
    """Parameters that a device of a kind might have, as far as nobody has measured."""
    return _drawn(DEFAULTS[kind], np.eye(len(FITTED)) * UNCALIBRATED_DEVIATION**2, generator)


def write_calibration(calibration: Calibration, file: Path) -> None:
    """As JSON. Raises ConfigError."""
    try:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(calibration)) + b"\n")
    except OSError as error:
        raise ConfigError(f"the calibration can't be written to {file}: {error.strerror}") from None


def read_calibration(file: Path) -> Calibration:
    """Raises ConfigError."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Calibration)
    except OSError as error:
        raise ConfigError(f"the calibration {file} can't be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{file} is no calibration (pennyweight plan --calibrate writes one): {error}") from None


def _log_ratio(value: float, other: float) -> float:
    return float(np.log(max(value, 1e-9) / max(other, 1e-9)))


def _tamed(residuals: Vector) -> Vector:
    """Residuals whose squares grow linearly beyond ``LARGE_RESIDUAL`` (Huber's loss)."""
    size = np.abs(residuals)
    large = np.sqrt(np.maximum(2 * LARGE_RESIDUAL * size - LARGE_RESIDUAL**2, 0.0))
    return np.sign(residuals) * np.where(size <= LARGE_RESIDUAL, size, large)


def _drawn(parameters: StepParameters, covariance: Vector, generator: np.random.Generator) -> StepParameters:
    powers = generator.multivariate_normal(np.zeros(len(FITTED)), covariance)
    return scaled(parameters, dict(zip(FITTED, powers.tolist(), strict=True)))
