"""How targets stand to the baseline: ratios paired by round, with 95 % bootstrap intervals over rounds and requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

import msgspec
import numpy as np
from numpy.typing import NDArray

from pennyweight.bench.load.bootstrap import LEVEL, RESAMPLES
from pennyweight.bench.load.sample import Sample

from .comparison import is_better, measures
from .measure import Measurement

Floats = NDArray[np.float64]
# A measure of each of many draws of a load's requests, [draws, requests] of their indices; None where it has none.
Statistic = Callable[[NDArray[np.int64]], Floats]


class Ratio(msgspec.Struct, frozen=True):
    """A measure of ``name`` over the baseline's: the median of the rounds' ratios and its 95 % interval.

    ``rounds`` are those in which both were measured. An interval of None: one round, and no requests to draw from.
    ``is_better`` is None where the interval holds 1, so that no difference is shown.
    """

    name: str
    baseline: str
    measure: str
    value: float
    low: float | None
    high: float | None
    rounds: int
    is_better: bool | None


class PairedRound(msgspec.Struct, frozen=True):
    """A round's ratio, and the two loads that it is of where it can be had again from draws of their requests."""

    ratio: float
    requests: int = 0
    ours: Statistic | None = None
    theirs: Statistic | None = None

    def drawn(self, count: int, generator: np.random.Generator) -> Floats:
        """The ratio in so many draws. Both loads had the same requests, so the same ones are drawn of both."""
        if self.ours is None or self.theirs is None:
            return np.full(count, self.ratio)
        chosen = generator.integers(0, self.requests, (count, self.requests))
        return self.ours(chosen) / self.theirs(chosen)


def ratios(measurements: Sequence[Measurement], baseline: str, seed: int) -> list[Ratio]:
    """Of every target but the baseline, of each measure that both have in a round."""
    of_round = {(one.label, one.round): one for one in measurements if one.failure is None}
    names = [name for name in dict.fromkeys(one.label for one in measurements) if name != baseline]
    rounds = sorted({one.round for one in measurements})
    found = []
    for name in names:
        pairs: dict[str, list[PairedRound]] = {}
        for number in rounds:
            ours, theirs = of_round.get((name, number)), of_round.get((baseline, number))
            if ours is not None and theirs is not None:
                for measure, pair in _paired(ours, theirs).items():
                    pairs.setdefault(measure, []).append(pair)
        found += [_ratio(name, baseline, measure, paired, seed) for measure, paired in pairs.items()]
    return found


def interval(pairs: Sequence[PairedRound], seed: int) -> tuple[float, float] | None:
    """The 95 % interval of the median ratio: rounds are drawn with replacement, and of each drawn round its requests."""
    if len(pairs) == 1 and pairs[0].ours is None:
        return None
    generator = np.random.default_rng([seed, 0xC03A])
    chosen = generator.integers(0, len(pairs), (RESAMPLES, len(pairs)))
    drawn = np.empty((RESAMPLES, len(pairs)))
    for place in range(len(pairs)):
        for number, pair in enumerate(pairs):
            rows = np.flatnonzero(chosen[:, place] == number)
            drawn[rows, place] = pair.drawn(len(rows), generator)
    low, high = np.percentile(np.median(drawn, axis=1), LEVEL)
    return float(low), float(high)


def _ratio(name: str, baseline: str, measure: str, pairs: Sequence[PairedRound], seed: int) -> Ratio:
    value, ends = median(pair.ratio for pair in pairs), interval(pairs, seed)
    low, high = ends or (None, None)
    is_shown = low is not None and high is not None and not low <= 1 <= high
    return Ratio(name, baseline, measure, value, low, high, len(pairs), is_better(measure, value) if is_shown else None)


def _paired(ours: Measurement, theirs: Measurement) -> dict[str, PairedRound]:
    """The round's ratio of each measure that both have; one of nothing to nothing has none."""
    mine, base = measures(ours), measures(theirs)
    statistics = {
        name: (len(samples), ours_of, theirs_of)
        for load, samples, others in zip(ours.loads, ours.samples, theirs.samples, strict=True)
        for name, ours_of, theirs_of in _statistics(load.concurrency, load.seconds, samples, theirs, others)
    }
    found = {}
    for name, value in mine.items():
        if base.get(name, 0.0) > 0 and value > 0:
            found[name] = PairedRound(value / base[name], *statistics.get(name, ()))
    return found


def _statistics(
    concurrency: int, seconds: float, samples: Sequence[Sample], theirs: Measurement, others: Sequence[Sample]
) -> list[tuple[str, Statistic, Statistic]]:
    """By the measure's name, both loads' statistics over draws of their requests."""
    their_seconds = next(load.seconds for load in theirs.loads if load.concurrency == concurrency)
    found = [
        (
            f"output_tokens_per_second@{concurrency}",
            _throughput(samples, seconds),
            _throughput(others, their_seconds),
        )
    ]
    values: list[tuple[str, float, Callable[[Sample], float | None]]] = [
        ("ttft_p50", 50, lambda sample: sample.ttft),
        ("ttft_p99", 99, lambda sample: sample.ttft),
        ("tpot_p50", 50, lambda sample: sample.tpot),
        ("e2e_p50", 50, lambda sample: sample.e2e),
    ]
    for name, percent, value in values:
        mine, base = [value(one) for one in samples], [value(one) for one in others]
        if None not in mine and None not in base:
            found.append((f"{name}@{concurrency}", _percentile(mine, percent), _percentile(base, percent)))
    return found


def _throughput(samples: Sequence[Sample], seconds: float) -> Statistic:
    """Output tokens over time, where each request stands for its part of the load's: its latency over the sum of all.

    In a closed loop of C clients the latencies add up to C times the load's length, so these parts are the time that took
    place (as in bench/cost/account.py).
    """
    tokens = np.array([sample.output_tokens for sample in samples], dtype=np.float64)
    times = np.array([sample.e2e for sample in samples])
    times = times * (seconds / times.sum())

    def of(chosen: NDArray[np.int64]) -> Floats:
        rates: Floats = tokens[chosen].sum(axis=1) / times[chosen].sum(axis=1)
        return rates

    return of


def _percentile(values: Sequence[float | None], percent: float) -> Statistic:
    known = np.array(values, dtype=np.float64)

    def of(chosen: NDArray[np.int64]) -> Floats:
        found: Floats = np.percentile(known[chosen], percent, axis=1)
        return found

    return of
