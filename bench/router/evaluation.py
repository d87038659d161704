"""A router beside what it has to beat, on each kind of task: figures of its curve with 95 % bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from pennyweight.server.router.learned.curve import Curve
from pennyweight.server.router.learned.examples import Examples, Floats
from pennyweight.server.router.learned.trainer import kinds, order

from .baselines import LENGTH

LEVEL = (2.5, 97.5)
POINTS = 101  # of a curve that is kept to be drawn

FIGURES: Mapping[str, Callable[[Curve], float]] = {
    "apgr": lambda curve: curve.apgr,
    "share_for_95_percent": lambda curve: curve.share_for_quality(0.95),
    "cpt_50": lambda curve: curve.share_for_gap(0.5),
    "cpt_80": lambda curve: curve.share_for_gap(0.8),
    "aiq": lambda curve: curve.aiq,
}


class Estimate(msgspec.Struct, frozen=True):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


class Scored(msgspec.Struct, frozen=True):
    """One router's figures on one kind of task; ``beyond_length`` is the paired difference of APGR, ``recovered`` PGR by percent."""

    figures: Mapping[str, Estimate]
    beyond_length: Estimate
    recovered: tuple[float, ...]


class OfKind(msgspec.Struct, frozen=True):
    """A kind of task: its rows, how often each model is right, and every router."""

    rows: int
    weak: float
    strong: float
    decided: float  # share of rows on which the models differ: the others are nobody's gain
    routers: Mapping[str, Scored]


def evaluate(
    examples: Examples, scores: Mapping[str, Floats], resamples: int, seed: int, tell: Callable[[], object]
) -> Mapping[str, OfKind]:
    """By kind of task, "all" first. All routers are judged on the same drawings of prompts; ``tell`` hears of each."""
    found = {}
    for number, (kind, rows) in enumerate(kinds(examples).items()):
        orders = {name: order(score, examples, rows) for name, score in scores.items()}
        random = np.random.default_rng((seed, number))
        drawn: dict[str, dict[str, list[float]]] = {name: {figure: [] for figure in FIGURES} for name in scores}
        for _ in range(resamples):
            weights = np.bincount(random.integers(len(rows), size=len(rows)), minlength=len(rows))
            for name, one in orders.items():
                curve = one.curve(weights)
                for figure, measure in FIGURES.items():
                    drawn[name][figure].append(measure(curve))
            tell()
        found[kind] = OfKind(
            rows=len(rows),
            weak=float(examples.weak[rows].mean()),
            strong=float(examples.strong[rows].mean()),
            decided=float((examples.gain[rows] != 0).mean()),
            routers={
                name: _scored(one.curve(), orders[LENGTH].curve(), drawn[name], drawn[LENGTH])
                for name, one in orders.items()
            },
        )
    return found


def _scored(
    curve: Curve, of_length: Curve, drawn: Mapping[str, list[float]], drawn_of_length: Mapping[str, list[float]]
) -> Scored:
    beyond = np.array(drawn["apgr"]) - np.array(drawn_of_length["apgr"])
    shares = np.linspace(0, 1, POINTS)
    return Scored(
        figures={name: _estimate(measure(curve), np.array(drawn[name])) for name, measure in FIGURES.items()},
        beyond_length=_estimate(curve.apgr - of_length.apgr, beyond),
        recovered=tuple(np.interp(shares, curve.shares, curve.recovered).round(5).tolist()),
    )


def _estimate(value: float, drawn: Floats) -> Estimate:
    """Resamples in which the strong model is not better have no curve, and are left out."""
    low, high = np.nanpercentile(drawn, LEVEL)
    return Estimate(float(value), float(low), float(high))
