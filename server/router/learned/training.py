"""How a router is trained: two ridge regressions, of whether each model is right, on the task's features and hashed n-grams.

Both heads have one design matrix and one penalty, so that their difference is the ridge regression of the gain: what orders prompts
is fitted to the very thing that is to be gained. Choices and open questions have weights of their own for the task's features, and
n-grams in common, which count less in a form that was seen seldom: few rows can't tell words apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pennyweight.server.errors import ConfigError

from .examples import Examples, Floats
from .model_file import FORMS, HEADS, Recipe, Tensors
from .ngrams import BUCKETS, ngrams
from .representation import Representation
from .task_features import NAMES, form_of, task_features

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Rows = NDArray[np.intp]
MISSING = "training and evaluating a router want scikit-learn: pip install 'pennyweight[router]'"
# A form that was seen less often has no weights of its own: it is taken for the other.
FEW_ROWS = 100
# Below that a standard deviation is rounding.
CONSTANT = 1e-6
TOLERANCE = 1e-4


class Features(msgspec.Struct, frozen=True):
    """Of many prompts: the task's features, the form and the n-grams' weights (one row each)."""

    task: NDArray[np.float32]
    form: Rows
    text: Any  # csr_matrix


def read_features(examples: Examples, tell: Callable[[int], object] = lambda count: None) -> Features:
    """The features of all prompts; ``tell`` hears of every prompt that is done. Raises ConfigError without scikit-learn."""
    try:
        from scipy.sparse import csr_matrix
    except ImportError:
        raise ConfigError(MISSING) from None
    task, form, indices, counts, ends = [], [], [], [], [0]
    for prompt in examples.prompts:
        task.append(task_features(prompt))
        form.append(form_of(task[-1]))
        found, weights = ngrams(prompt)
        indices.append(found)
        counts.append(weights)
        ends.append(ends[-1] + len(found))
        tell(1)
    text = csr_matrix((np.concatenate(counts), np.concatenate(indices), ends), shape=(len(examples), BUCKETS))
    return Features(np.stack(task), np.array(form, dtype=np.intp), text)


def fit(features: Features, examples: Examples, rows: Rows, recipe: Recipe) -> Tensors:
    """The tensors of a router that has seen ``rows`` alone, without its calibration. Deterministic."""
    try:
        from sklearn.linear_model import Ridge
    except ImportError:
        raise ConfigError(MISSING) from None
    owners = _owners(features.form[rows])
    form = owners[features.form[rows]]
    tensors = {**_waves(recipe), **_standardised(features.task[rows], form, owners)}
    # What occurs in one prompt only tells nothing of others.
    seen = np.bincount(features.text[rows].indices, minlength=BUCKETS)
    rarity = np.where(seen >= 2, np.log((1 + len(rows)) / (1 + seen)) + 1, 0)
    tensors["rarity"] = rarity.astype(np.float32)
    counts = np.bincount(form, minlength=len(FORMS))[owners]
    tensors["text_scale"] = np.minimum(1, counts / recipe.full_text_rows).astype(np.float32)

    right = np.stack([examples.weak[rows], examples.strong[rows]], axis=1)
    means = np.stack([right[form == owner].mean(axis=0) for owner in owners])
    ridge = Ridge(recipe.ridge, fit_intercept=False, solver="sparse_cg", tol=TOLERANCE)
    coefficients = ridge.fit(_design(tensors, features, rows, form), right - means[form]).coef_
    task = coefficients[:, BUCKETS:].reshape(len(HEADS), len(FORMS), len(NAMES) + recipe.waves)
    tensors["text"] = coefficients[:, :BUCKETS].astype(np.float32)
    tensors["task"] = task[:, owners].astype(np.float32)
    tensors["intercept"] = means.T.astype(np.float32)
    return tensors


def predict(tensors: Tensors, features: Features, rows: Rows) -> Floats:
    """The heads' raw values for each row, weak and strong: what ``LearnedRouter`` computes for one prompt."""
    form = features.form[rows]
    task = Representation(tensors).of_task(features.task[rows], form)
    text = _unit_text(tensors, features, rows) @ tensors["text"].T
    of_task = np.einsum("nf,nhf->nh", task, tensors["task"][:, form].transpose(1, 0, 2))
    raw = tensors["intercept"][:, form].T + of_task + tensors["text_scale"][form][:, None] * text
    return np.asarray(raw, dtype=np.float64)


def _waves(recipe: Recipe) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(recipe.seed)
    spread = np.sqrt(2 * recipe.width / len(NAMES))
    return {
        "frequencies": (spread * random.standard_normal((len(NAMES), recipe.waves))).astype(np.float32),
        "phases": random.uniform(0, 2 * np.pi, recipe.waves).astype(np.float32),
    }


def _owners(form: Rows) -> Rows:
    """For each form the one whose weights it takes: its own, or where it was seen seldom, those of the other."""
    counts = np.bincount(form, minlength=len(FORMS))
    return np.array([one if counts[one] >= FEW_ROWS else counts.argmax() for one in range(len(FORMS))])


def _standardised(task: NDArray[np.float32], form: Rows, owners: Rows) -> dict[str, NDArray[np.float32]]:
    pools = [task[form == owner].astype(np.float64) for owner in owners]
    spread = np.stack([pool.std(axis=0) for pool in pools])
    scale = np.where(spread > CONSTANT, 1 / np.maximum(spread, CONSTANT), 0)
    return {
        "mean": np.stack([pool.mean(axis=0) for pool in pools]).astype(np.float32),
        "scale": scale.astype(np.float32),
    }


def _unit_text(tensors: Tensors, features: Features, rows: Rows) -> csr_matrix:
    weighted = features.text[rows].multiply(tensors["rarity"][None, :]).tocsr()
    norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    return weighted.multiply(1 / np.maximum(norms, np.finfo(np.float32).tiny)[:, None]).tocsr()


def _design(tensors: Tensors, features: Features, rows: Rows, form: Rows) -> csr_matrix:
    """The rows of what the heads are linear in: n-grams, then a block of the task's features for each form."""
    from scipy.sparse import csr_matrix, hstack

    task = Representation(tensors).of_task(features.task[rows], form)
    text = _unit_text(tensors, features, rows).multiply(tensors["text_scale"][form][:, None])
    blocks = [csr_matrix(task * (form == one)[:, None]) for one in range(len(FORMS))]
    return hstack([text, *blocks]).astype(np.float64).tocsr()
