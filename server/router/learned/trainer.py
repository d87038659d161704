"""From examples to a router: cross-validated for its calibration, its operating points and its scores, then fitted to all rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from pennyweight.server.errors import ConfigError

from .curve import Order
from .examples import Examples, Floats
from .learned_router import CALIBRATED
from .model_file import FORMAT, FORMS, Manifest, OperatingPoint, Recipe, Tensors
from .task_features import FEATURE_VERSION
from .training import MISSING, Features, fit, predict, read_features

Tell = Callable[[str, int], object]  # what is being done, and how many steps of it are done now
READING, FITTING = "prompts", "folds"


def train(examples: Examples, recipe: Recipe, tell: Tell) -> tuple[Manifest, Tensors]:
    """The router and its manifest, whose weights have no hash yet. Raises ConfigError where the data can't teach one."""
    if not examples.gain.sum() > 0:
        raise ConfigError("the strong model is right no more often than the weak one: there is nothing to route for")
    features = read_features(examples, lambda count: tell(READING, count))
    held = cross_validate(features, examples, recipe, tell)
    tensors = dict(fit(features, examples, np.arange(len(examples)), recipe))
    tell(FITTING, 1)
    gain = held[:, 1] - held[:, 0]
    for name, raw, truth in zip(
        CALIBRATED, (held[:, 0], held[:, 1], gain), (examples.weak, examples.strong, examples.gain), strict=True
    ):
        tensors[f"{name}.x"], tensors[f"{name}.y"] = _isotonic(raw, truth)
    by_form = np.bincount(features.form, minlength=len(FORMS))
    manifest = Manifest(
        format=FORMAT,
        features=FEATURE_VERSION,
        data_sha256=examples.sha256,
        rows=len(examples),
        rows_by_form=dict(zip(FORMS, by_form.tolist(), strict=True)),
        recipe=recipe,
        versions=_versions(),
        scores=_scores(gain, examples),
        operating_points=_operating_points(gain, examples),
        weights_sha256="",
    )
    return manifest, tensors


def cross_validate(features: Features, examples: Examples, recipe: Recipe, tell: Tell) -> Floats:
    """Both heads' values for every row, (n, 2), each from a router that hasn't seen its fold."""
    fold = examples.folds(recipe.folds, recipe.seed)
    if len(np.unique(fold)) < recipe.folds:
        raise ConfigError(f"{len(examples)} examples are too few for {recipe.folds} folds")
    held = np.empty((len(examples), 2))
    for one in range(recipe.folds):
        rows = np.flatnonzero(fold == one)
        held[rows] = predict(fit(features, examples, np.flatnonzero(fold != one), recipe), features, rows)
        tell(FITTING, 1)
    return held


def cross_validated_gain(examples: Examples, recipe: Recipe, tell: Tell) -> Floats:
    """The score of every example from a router that hasn't seen its fold."""
    features = read_features(examples, lambda count: tell(READING, count))
    held = cross_validate(features, examples, recipe, tell)
    return held[:, 1] - held[:, 0]


def kinds(examples: Examples) -> Mapping[str, np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """The rows of each kind of task by name, after those of all; kinds without any gain have no curve and are left out."""
    found = {"all": np.arange(len(examples))}
    names = sorted(set(examples.kinds))
    for name in names if len(names) > 1 else []:
        rows = np.flatnonzero(np.array([kind == name for kind in examples.kinds]))
        if examples.gain[rows].sum() > 0:
            found[name or "without a task"] = rows
    return found


def order(score: Floats, examples: Examples, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Order:
    """The rows by their score."""
    return Order(
        score[rows], examples.weak[rows], examples.strong[rows], examples.weak_cost[rows], examples.strong_cost[rows]
    )


def _isotonic(raw: Floats, truth: Floats) -> tuple[np.ndarray[tuple[int], np.dtype[np.float32]], ...]:
    """The knots of the rising steps, between which is interpolated."""
    try:
        from sklearn.isotonic import IsotonicRegression
    except ImportError:
        raise ConfigError(MISSING) from None
    found = IsotonicRegression(out_of_bounds="clip").fit(raw, truth)
    return found.X_thresholds_.astype(np.float32), found.y_thresholds_.astype(np.float32)


def _scores(gain: Floats, examples: Examples) -> Mapping[str, Mapping[str, float]]:
    scores = {}
    for name, rows in kinds(examples).items():
        curve = order(gain, examples, rows).curve()
        scores[name] = {
            "rows": float(len(rows)),
            "apgr": curve.apgr,
            "share_for_95_percent": curve.share_for_quality(0.95),
        }
    return scores


def _operating_points(gain: Floats, examples: Examples) -> tuple[OperatingPoint, ...]:
    """At every percent of strong answers, by rising share."""
    curve = order(gain, examples, np.arange(len(examples))).curve()
    shares = np.linspace(0, 1, 101)
    quality = np.interp(shares, curve.shares, curve.quality) / curve.quality[-1]
    thresholds = np.quantile(gain, 1 - shares)
    return tuple(
        OperatingPoint(threshold=float(threshold), strong_share=float(share), quality=float(part))
        for threshold, share, part in zip(thresholds, shares, quality, strict=True)
    )


def _versions() -> Mapping[str, str]:
    found = {}
    for name in ("pennyweight", "numpy", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a tree that isn't installed
            continue
    return found
