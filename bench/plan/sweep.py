"""Sweeps as `pennyweight bench serve` leaves them: at each load, what the requests were and what they met with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pennyweight.bench.load.raw import read_samples, samples_path
from pennyweight.bench.result import FILE, Result, read
from pennyweight.server.errors import ConfigError

from .outcome import Outcome
from .simulation import EngineLimits, simulate
from .step_model import StepModel
from .workload import Workload

# Percentiles of fewer requests say nothing.
FEWEST = 10


@dataclass(frozen=True, eq=False)
class Point:
    """One load of a sweep. ``clients`` is None for an open loop, whose very times of sending are replayed."""

    name: str
    load: Mapping[str, Any]
    clients: int | None
    workload: Workload
    measured: Outcome

    def simulated(self, model: StepModel, limits: EngineLimits) -> Outcome:
        """The same requests through the model, sent as they were sent: at the same times, or by as many clients."""
        return simulate(self.workload, model, limits, clients=self.clients)


@dataclass(frozen=True)
class Sweep:
    """All loads of one or several results of the same server, closed loops first, each kind from the lightest to the heaviest."""

    results: tuple[Result, ...]
    points: tuple[Point, ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest request, input and output."""
        return max(point.workload.longest for point in self.points)

    @property
    def last(self) -> Result:
        """The one that was finished last."""
        return max(self.results, key=lambda result: result.finished)

    def complaints(self) -> tuple[str, ...]:
        """Those of the measurements themselves: a model of a disturbed run is none of the engine."""
        return tuple(f"a sweep was invalid: {complaint}" for result in self.results for complaint in result.complaints)


def read_sweep(directories: Sequence[Path]) -> Sweep:
    """The loads in the results' directories. Raises ConfigError for one that is no sweep, or whose samples can't be replayed."""
    results, points = [], []
    for directory in directories:
        result = _read_result(directory)
        results.append(result)
        for number, one in enumerate(result.data["points"]):
            points.append(_point(samples_path(directory, number), one["load"]))
    points.sort(key=lambda point: (point.clients is None, point.clients or point.load["rate"]))
    return Sweep(tuple(results), tuple(points))


def _read_result(directory: Path) -> Result:
    try:
        result = read(directory)
    except OSError as error:
        raise ConfigError(f"{directory / FILE} can't be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{directory / FILE} is no benchmark's result: {error}") from None
    if result.kind != "serve":
        raise ConfigError(f"{directory} has a result of `bench {result.kind}`; a sweep of `bench serve` is needed")
    return result


def _point(file: Path, load: Mapping[str, Any]) -> Point:
    is_open = load["mode"] == "open"
    name = f"{load['rate']:g} requests/s" if is_open else f"{load['concurrency']} clients"
    try:
        samples = sorted(read_samples(file), key=lambda sample: sample.sent)
    except (OSError, EOFError) as error:
        raise ConfigError(f"the samples {file} can't be read: {error}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"the samples {file} aren't those of `bench serve`: {error}") from None
    if failed := sum(one.error is not None for one in samples):
        raise ConfigError(
            f"at {name} {failed} requests failed ({file.name}): a model of the engine can't be fitted to that"
        )
    if len(samples) < FEWEST or any(not one.arrivals or not one.prompt_tokens for one in samples):
        raise ConfigError(f"{file} needs {FEWEST} streamed requests or more, with their numbers of tokens")
    sent = np.array([one.sent for one in samples])
    input_tokens = np.array([one.prompt_tokens for one in samples], dtype=np.int64)
    output_tokens = np.array([one.output_tokens for one in samples], dtype=np.int64)
    cached_tokens = np.array([one.cached_tokens or 0 for one in samples], dtype=np.int64)
    measured = Outcome(
        sent=sent,
        first=np.array([one.arrivals[0] for one in samples]),
        ended=np.array([one.arrivals[-1] for one in samples]),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        step_seconds=np.zeros(0),
        step_decodes=np.zeros(0, dtype=np.int64),
    )
    workload = Workload(sent, input_tokens, output_tokens, cached_tokens)
    return Point(name, load, None if is_open else load["concurrency"], workload, measured)
