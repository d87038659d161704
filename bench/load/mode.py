"""How requests arrive: in an open loop whatever the server does, in a closed loop as answers come back."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

ArrivalProcess = Literal["poisson", "gamma", "constant", "trace"]


MAX_CV = 100.0  # of more, all but a few intervals of a run are too short to be told from none


def gamma_intervals(generator: np.random.Generator, cv: float, count: int) -> NDArray[np.float64]:
    """So many intervals [count] of mean 1 of a gamma process; ``cv`` (0 to ``MAX_CV``) 1 is Poisson, 0 is constant."""
    if cv < 1e-6:  # what it would vary by is lost in a sum of intervals, and 1 / cv² may be no number
        return np.ones(count)
    return generator.gamma(1 / cv**2, cv**2, count)


class OpenLoop(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="mode", tag="open"):
    """Requests are sent when they are due. ``rate`` is their mean number per second; infinite sends all at once.

    ``cv`` is the coefficient of variation of a gamma process's intervals (vLLM's burstiness is 1 / cv²). At most
    ``max_concurrency`` requests run at a time; others wait, as their TTFT from schedule shows.
    """

    rate: float
    arrivals: ArrivalProcess = "poisson"
    cv: float | None = None
    max_concurrency: int | None = None

    def times(self, count: int, seed: int) -> list[float]:
        """When ``count`` requests are due, in seconds; the same seed gives the same times, at any rate in proportion.

        Times are scaled so that the last one is at exactly count / rate (`vllm bench serve` does so too). A Poisson process
        stays one by that: given the time of its last arrival the others are uniform in between, whatever that time is.
        """
        if np.isinf(self.rate):
            return [0.0] * count
        if self.arrivals == "constant":
            return [(index + 1) / self.rate for index in range(count)]
        cv = 1.0 if self.arrivals == "poisson" or self.cv is None else self.cv
        times = np.cumsum(gamma_intervals(np.random.default_rng([seed, 0xA221]), cv, count))
        if times[-1] == 0:  # few requests of a high cv: all in one burst
            return [count / self.rate] * count
        return [float(time) for time in times * (count / self.rate / times[-1])]


class ClosedLoop(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="mode", tag="closed"):
    """So many clients, each of which sends its next request (or begins its next session) when its last has ended.

    After ``seconds``, if given, no more are sent.
    """

    concurrency: int
    seconds: float | None = None


Mode = OpenLoop | ClosedLoop
