"""The model's error: fitted to every other load of a sweep, how far off is it at those between?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from pennyweight.server.errors import ConfigError

from .calibration import figures, fit
from .served import Served
from .step_model import StepParameters
from .sweep import Point, Sweep

# Median errors that the planner is built to keep: see the table's last line.
GOALS: Mapping[str, float] = {"throughput": 0.10, "ttft_p50": 0.20, "ttft_p99": 0.20}
FEWEST_POINTS = 4


@dataclass(frozen=True)
class Prediction:
    """One load: what was measured and what the model had said, by metric, and the relative error (0.1 is 10 % too much)."""

    load: str
    requests: int
    fitted: bool
    measured: Mapping[str, float]
    predicted: Mapping[str, float]
    errors: Mapping[str, float]


@dataclass(frozen=True)
class Validation:
    """``errors`` are the medians of the absolute relative errors over the loads that were not fitted."""

    parameters: StepParameters
    predictions: tuple[Prediction, ...]
    errors: Mapping[str, float]

    def complaints(self) -> tuple[str, ...]:
        """Which goals were missed."""
        return tuple(
            f"the median error of {name} is {self.errors[name]:.0%}, above the goal of {goal:.0%}"
            for name, goal in GOALS.items()
            if self.errors[name] > goal
        )


def validate(served: Served, sweep: Sweep, on_progress: Callable[[float], None] = lambda _: None) -> Validation:
    """Fit to one half of a sweep's loads and predict the other. Raises ConfigError for a sweep of too few."""
    if len(sweep.points) < FEWEST_POINTS:
        raise ConfigError(f"a sweep of {len(sweep.points)} loads has no two halves; {FEWEST_POINTS} or more are needed")
    fitted = sweep.points[::2]  # sorted by load, so both halves reach over the whole range
    parameters, _ = fit(served, fitted, on_progress)
    predictions = [_predict(served, one, parameters, index % 2 == 0) for index, one in enumerate(sweep.points)]
    judged = [one for one in predictions if not one.fitted]
    errors = {name: float(np.median([abs(one.errors[name]) for one in judged])) for name in judged[0].errors}
    return Validation(parameters, tuple(predictions), errors)


def make_table(predictions: Sequence[Prediction], errors: Mapping[str, float]) -> Table:
    """Each load with what was measured, what was predicted, and by how much that was off."""
    table = Table(title="The planner's model against a sweep (fitted to every other load, judged by the rest)")
    for name in ("load", "requests", "", "output tokens/s", "TTFT p50 (ms)", "TTFT p99 (ms)", "TPOT p50 (ms)"):
        table.add_column(name, justify="left" if name in ("load", "") else "right")
    for one in predictions:
        cells = [
            f"{one.measured[name] * scale:.{digits}f} / {one.predicted[name] * scale:.{digits}f} ({one.errors[name]:+.0%})"
            for name, scale, digits in (
                ("throughput", 1, 1),
                ("ttft_p50", 1000, 0),
                ("ttft_p99", 1000, 0),
                ("tpot_p50", 1000, 1),
            )
        ]
        table.add_row(
            one.load, str(one.requests), "fitted" if one.fitted else "", *cells, style="dim" if one.fitted else ""
        )
    table.add_section()
    table.add_row(
        "median error", "", "", *(f"{errors[name]:.1%}" for name in ("throughput", "ttft_p50", "ttft_p99", "tpot_p50"))
    )
    table.caption = "measured / predicted (error)"
    return table


def _predict(served: Served, point: Point, parameters: StepParameters, fitted: bool) -> Prediction:
    measured, predicted = figures(point.measured), figures(served.outcome(point, parameters))
    errors = {name: predicted[name] / measured[name] - 1 if measured[name] else 0.0 for name in measured}
    return Prediction(point.name, len(point.workload), fitted, measured, predicted, errors)
