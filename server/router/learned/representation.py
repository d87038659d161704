"""From features to what the heads are linear in: the same for training and for a decision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .model_file import Tensors
from .ngrams import Indices, Weights
from .task_features import Vector

# Standardised features beyond that are taken for it: no prompt lies far outside of all that was seen.
CLIP = 4.0


class Representation:
    """Features of the task, standardised among prompts of their form, with random Fourier features of them.

    Those (Rahimi and Recht, NIPS 2007) make a linear head one of a Gaussian kernel, in which features act together.
    """

    def __init__(self, tensors: Tensors) -> None:
        self._mean, self._scale = tensors["mean"], tensors["scale"]
        self._frequencies, self._phases = tensors["frequencies"], tensors["phases"]
        self._linear = np.float32(1 / np.sqrt(self._mean.shape[1]))
        self._wave = np.float32(np.sqrt(2 / max(len(self._phases), 1)))

    def of_task(self, features: Vector, form: int | NDArray[np.intp]) -> NDArray[np.float32]:
        """Of one prompt, or of many with a row and a form each."""
        z = np.clip((features - self._mean[form]) * self._scale[form], -CLIP, CLIP)
        waves = self._wave * np.cos(z @ self._frequencies + self._phases)
        return np.concatenate([self._linear * z, waves], axis=-1)


def unit_text(indices: Indices, counts: Weights, rarity: Weights) -> Weights:
    """The n-grams' TF-IDF weights, as a vector of length 1 (or 0, where none is known)."""
    weighted = counts * rarity[indices]
    norm = float(np.sqrt(weighted @ weighted))
    return weighted / np.float32(norm) if norm > 0 else weighted
