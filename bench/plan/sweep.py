"""A sweep as `pennyweight bench serve` leaves it: at each load, what the requests were and what they met with."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pennyweight.bench.result import FILE, Result, read
from pennyweight.server.errors import ConfigError

from .outcome import Outcome
from .simulation import EngineLimits, simulate
from .step_model import StepModel
from .workload import Workload

# Percentiles of fewer requests say nothing.
FEWEST = 10


class _Sample(msgspec.Struct):
    """Of a sample, what the planner reads. Seconds from the load's start."""

    sent: float
    first: float | None
    ended: float
    prompt_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None = 0
    error: str | None = None


@dataclass(frozen=True)
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
    """All loads of a result, closed loops first, each kind from the lightest to the heaviest."""

    result: Result
    points: tuple[Point, ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest request, input and output."""
        return max(point.workload.longest for point in self.points)

    def complaints(self) -> tuple[str, ...]:
        """Those of the measurement itself: a model of a disturbed run is none of the engine."""
        return tuple(f"the sweep was invalid: {complaint}" for complaint in self.result.complaints)


def read_sweep(directory: Path) -> Sweep:
    """The sweep in a result's directory. Raises ConfigError for one that is none, or whose samples can't be replayed."""
    try:
        result = read(directory)
    except OSError as error:
        raise ConfigError(f"{directory / FILE} can't be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{directory / FILE} is no benchmark's result: {error}") from None
    if result.kind != "serve":
        raise ConfigError(f"{directory} has a result of `bench {result.kind}`; a sweep of `bench serve` is needed")
    points = [
        _point(directory / f"samples-{index}.jsonl.gz", one["load"]) for index, one in enumerate(result.data["points"])
    ]
    points.sort(key=lambda point: (point.clients is None, point.clients or point.load["rate"]))
    return Sweep(result, tuple(points))


def _point(file: Path, load: Mapping[str, Any]) -> Point:
    is_open = load["mode"] == "open"
    name = f"{load['rate']:g} requests/s" if is_open else f"{load['concurrency']} clients"
    decoder = msgspec.json.Decoder(_Sample)
    try:
        with gzip.open(file) as lines:
            samples = [decoder.decode(line) for line in lines]
    except (OSError, EOFError) as error:
        raise ConfigError(f"the samples {file} can't be read: {error}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"the samples {file} aren't those of `bench serve`: {error}") from None
    if failed := sum(one.error is not None for one in samples):
        raise ConfigError(
            f"at {name} {failed} requests failed ({file.name}): a model of the engine can't be fitted to that"
        )
    if len(samples) < FEWEST or any(
        one.first is None or not one.prompt_tokens or not one.output_tokens for one in samples
    ):
        raise ConfigError(f"{file} needs {FEWEST} streamed requests or more, with their numbers of tokens")
    samples.sort(key=lambda one: one.sent)
    sent = np.array([one.sent for one in samples])
    output_tokens = np.array([one.output_tokens for one in samples], dtype=np.int64)
    workload = Workload(
        sent,
        np.array([one.prompt_tokens for one in samples], dtype=np.int64),
        output_tokens,
        np.array([one.cached_tokens or 0 for one in samples], dtype=np.int64),
    )
    measured = Outcome(
        sent=sent,
        first=np.array([one.first for one in samples], dtype=np.float64),
        ended=np.array([one.ended for one in samples]),
        input_tokens=workload.input_tokens,
        output_tokens=output_tokens,
        step_seconds=np.zeros(0),
        step_decodes=np.zeros(0, dtype=np.int64),
    )
    return Point(name, load, None if is_open else load["concurrency"], workload, measured)
