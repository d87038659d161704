"""Service level objectives as percentiles: ``ttft:p99:500ms,tpot:p50:40ms``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight.server.errors import ConfigError

from .outcome import Outcome

METRICS = ("ttft", "tpot", "itl", "e2e")
UNITS = {"ms": 1e-3, "s": 1.0}
FORM = re.compile(rf"({'|'.join(METRICS)}):p(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)({'|'.join(UNITS)})")


@dataclass(frozen=True)
class Objective:
    """``percent`` of 100 requests (of tokens, for ITL) keep ``metric`` within ``limit`` seconds."""

    metric: str
    percent: float
    limit: float

    def __str__(self) -> str:
        return f"{self.metric}:p{self.percent:g}:{self.limit * 1000:g}ms"

    def is_met(self, outcome: Outcome) -> bool:
        return outcome.percentile(self.metric, self.percent) <= self.limit


def parse_slo(text: str) -> tuple[Objective, ...]:
    """The objectives of an SLO, separated by commas. Raises ConfigError."""
    found = []
    for part in text.split(","):
        match = FORM.fullmatch(part.strip())
        if match is None or not 0 < float(match[2]) < 100 or float(match[3]) == 0:
            raise ConfigError(
                f"--slo {part.strip()!r} is not METRIC:pPERCENT:LIMIT, as in ttft:p99:500ms; metrics are {', '.join(METRICS)}, "
                f"units {', '.join(UNITS)}"
            )
        found.append(Objective(match[1], float(match[2]), float(match[3]) * UNITS[match[4]]))
    return tuple(found)


def first_broken(slo: Sequence[Objective], outcome: Outcome) -> Objective | None:
    """The first objective that an outcome doesn't meet."""
    return next((objective for objective in slo if not objective.is_met(outcome)), None)


def accepted(slo: Sequence[Objective], outcome: Outcome) -> NDArray[np.bool_]:
    """Whether each request kept all limits itself, whatever share of them had to."""
    kept = np.ones(len(outcome.sent), dtype=bool)
    for objective in slo:
        kept &= outcome.meets(objective.metric, objective.limit)
    return kept
