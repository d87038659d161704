"""The raw data of a load: what each request went through, for the plots that percentiles can't replace.

One sample per line of a gzipped file (bench/load writes them). Times are in seconds from the load's start.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

# A curve of that many points looks the same as one of a million, and the page stays small.
CURVE_POINTS = 300


class Sample(msgspec.Struct, frozen=True):
    """One request."""

    sent: float
    ended: float
    first: float | None = None
    arrivals: tuple[float, ...] = ()
    pieces: tuple[int, ...] = ()  # the tokens of each arrival
    error: str | None = None


def read_samples(directory: Path, point: int) -> list[Sample]:
    """The samples of a result's point; none where they were not kept. Raises OSError and msgspec.ValidationError."""
    path = directory / f"samples-{point}.jsonl.gz"
    if not path.exists():
        return []
    decoder = msgspec.json.Decoder(Sample)
    with gzip.open(path, "rb") as lines:
        return [decoder.decode(line) for line in lines if line.strip()]


def ttfts(samples: Iterable[Sample]) -> list[float]:
    """From sending to the first token, of the requests that had one."""
    return [one.first - one.sent for one in samples if one.error is None and one.first is not None]


def itls(samples: Iterable[Sample]) -> list[float]:
    """Between tokens, of all requests together; a piece of n tokens counts as n that share the wait for it."""
    found: list[float] = []
    for one in samples:
        if one.error is None and len(one.arrivals) > 1:
            tokens = np.asarray(one.pieces[1:] or [1] * (len(one.arrivals) - 1))
            found += np.repeat(np.diff(one.arrivals) / tokens, tokens).tolist()
    return found


def cumulative_curve(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """x and the share of values that are at most x, at shares that lie denser towards 1, where the tail is."""
    ordered = np.sort(np.asarray(values))
    shares = 1 - np.geomspace(1, 1 / len(ordered), min(CURVE_POINTS, len(ordered)))
    shares = np.unique(np.concatenate([shares, np.linspace(0, 1, min(CURVE_POINTS, len(ordered)) + 1)]))
    return np.quantile(ordered, shares).tolist(), shares.tolist()


def running_over_time(samples: Sequence[Sample]) -> tuple[list[float], list[float]]:
    """Seconds, and how many requests were under way then: at each second's grid point, so that long runs stay small."""
    if not samples:
        return [], []
    end = max(one.ended for one in samples)
    times = np.linspace(0, end, CURVE_POINTS)
    sent = np.searchsorted(np.sort([one.sent for one in samples]), times, side="right")
    ended = np.searchsorted(np.sort([one.ended for one in samples]), times, side="right")
    return times.tolist(), (sent - ended).astype(float).tolist()
