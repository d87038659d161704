"""The learned router at run time: a prompt's features, two linear heads, calibration. numpy alone; well under a millisecond."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from pennyweight.server.errors import ConfigError

from .model_file import Manifest, Tensors, read_model
from .ngrams import ngrams
from .representation import Representation, unit_text
from .task_features import form_of, task_features

CALIBRATED = ("weak", "strong", "gain")


class Estimate(msgspec.Struct, frozen=True):
    """What is expected of the two models for a prompt.

    ``score`` orders prompts by what the strong model gains and is what thresholds compare with. The others are calibrated, each
    for itself by isotonic regression on cross-validated scores, so that ``gain`` (-1 to 1) is near ``p_strong_ok - p_weak_ok`` but
    needn't equal it; many scores share a calibrated value.
    """

    score: float
    p_weak_ok: float
    p_strong_ok: float
    gain: float


class LearnedRouter:
    """Made by ``load``. Immutable, so any thread may ask it; the same prompt gets the same estimate in every process."""

    def __init__(self, manifest: Manifest, tensors: Tensors) -> None:
        self.manifest = manifest
        self._representation = Representation(tensors)
        self._rarity, self._text = tensors["rarity"], np.ascontiguousarray(tensors["text"].T)
        self._text_scale, self._task, self._intercept = tensors["text_scale"], tensors["task"], tensors["intercept"]
        self._knots = {name: (tensors[f"{name}.x"], tensors[f"{name}.y"]) for name in CALIBRATED}

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """The router that ``pennyweight router train`` wrote to the directory. Raises ConfigError, which says what is wrong."""
        manifest, tensors = read_model(Path(path))
        for name in CALIBRATED:
            x, y = tensors.get(f"{name}.x"), tensors.get(f"{name}.y")
            if x is None or y is None or x.ndim != 1 or x.shape != y.shape or not len(x) or (np.diff(x) < 0).any():
                raise ConfigError(
                    f"{path}: the calibration of {name} is not two rows of equal length, the first rising"
                )
        return cls(manifest, tensors)

    def strong_gain(self, prompt: str) -> Estimate:
        """What the strong model is expected to gain on the prompt; any text is answered, also an empty one."""
        features = task_features(prompt)
        form = form_of(features)
        indices, counts = ngrams(prompt)
        weighted = unit_text(indices, counts, self._rarity)
        task = self._representation.of_task(features, form)
        raw = self._intercept[:, form] + self._task[:, form] @ task
        raw = raw + self._text_scale[form] * (weighted @ self._text[indices])
        weak, strong = float(raw[0]), float(raw[1])
        score = strong - weak
        return Estimate(
            score=score,
            p_weak_ok=self._calibrated("weak", weak),
            p_strong_ok=self._calibrated("strong", strong),
            gain=self._calibrated("gain", score),
        )

    def threshold_for_share(self, strong_share: float) -> float:
        """The score from which on the strong model answers, so that it answers this share of traffic like the training data.

        Raises ConfigError for a share outside of 0 to 1. 0 gives infinity and 1 minus infinity: always, whatever the traffic.
        """
        if not 0 <= strong_share <= 1:
            raise ConfigError(f"strong_share is {strong_share}; it must be from 0 to 1")
        if strong_share in (0, 1):
            return float("inf") if strong_share == 0 else float("-inf")
        points = self.manifest.operating_points
        return float(np.interp(strong_share, [one.strong_share for one in points], [one.threshold for one in points]))

    def threshold_for_quality(self, quality: float) -> float:
        """The highest threshold that kept this part of the strong model's quality on the training data, by cross-validation.

        Raises ConfigError for what is not from 0 to 1. Always strong, where nothing less kept it.
        """
        if not 0 <= quality <= 1:
            raise ConfigError(f"quality is {quality}; it must be from 0 to 1, a part of the strong model's")
        for point in self.manifest.operating_points:
            if point.quality >= quality:
                return self.threshold_for_share(point.strong_share)
        return float("-inf")

    def _calibrated(self, name: str, value: float) -> float:
        x, y = self._knots[name]
        return float(np.interp(value, x, y))
