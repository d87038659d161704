"""What a learned router has to beat, and what none can: scores that order the same prompts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pennyweight.server.errors import ConfigError
from pennyweight.server.router.learned.examples import Examples, Floats
from pennyweight.server.router.learned.training import MISSING

RANDOM, LENGTH, TFIDF, TFIDF_GAIN, ORACLE = "random", "length", "TF-IDF", "TF-IDF, of the gain", "oracle"


def baselines(examples: Examples, folds: int, seed: int) -> Mapping[str, Floats]:
    """By name. Random is one score for all, for equal scores are averaged over their orders; the oracle knows the gain.

    Both TF-IDF baselines are cross-validated ridge regressions on words and pairs of words: of the weak model's being wrong, as
    routers are usually trained, and of the gain.
    """
    wrong, gain = _tfidf(examples, folds, seed)
    return {
        RANDOM: np.zeros(len(examples)),
        LENGTH: np.array([len(prompt) for prompt in examples.prompts], dtype=np.float64),
        TFIDF: wrong,
        TFIDF_GAIN: gain,
        ORACLE: examples.gain,
    }


def _tfidf(examples: Examples, folds: int, seed: int) -> tuple[Floats, Floats]:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import Ridge
    except ImportError:
        raise ConfigError(MISSING) from None
    targets = np.stack([1 - examples.weak, examples.gain], axis=1)
    held = np.empty_like(targets)
    fold = examples.folds(folds, seed)
    for one in range(folds):
        seen, rows = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
        words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b")
        known = words.fit_transform([examples.prompts[int(row)] for row in seen])
        ridge = Ridge(5.0, solver="sparse_cg", tol=1e-3).fit(known, targets[seen])
        held[rows] = ridge.predict(words.transform([examples.prompts[int(row)] for row in rows]))
    return held[:, 0], held[:, 1]
