"""A learned router on disk: a directory with manifest.json and weights.safetensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pennyweight.server.errors import ConfigError

from .ngrams import BUCKETS
from .task_features import FEATURE_VERSION, NAMES

MANIFEST, WEIGHTS = "manifest.json", "weights.safetensors"
FORMAT = 1
HEADS = ("weak", "strong")  # whose being right each head predicts
FORMS = ("choices", "open")  # see task_features.form_of

Tensors = Mapping[str, NDArray[np.float32]]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a router is trained; see ``training``."""

    ridge: float = 20.0
    waves: int = 512  # random Fourier features of the task's features
    width: float = 0.5
    full_text_rows: int = 5000  # from so many rows of a form on its n-grams count in full
    folds: int = 5
    seed: int = 0


class OperatingPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A score from which on the strong model answers, and what that brought on the training data, by cross-validation.

    ``quality`` is a part of the strong model's own.
    """

    threshold: float
    strong_share: float
    quality: float


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the router was made from and by, and how good it is. ``scores`` are by cross-validation, by kind of task."""

    format: int
    features: int
    data_sha256: str
    rows: int
    rows_by_form: Mapping[str, int]
    recipe: Recipe
    versions: Mapping[str, str]
    scores: Mapping[str, Mapping[str, float]]
    operating_points: tuple[OperatingPoint, ...]
    weights_sha256: str


def write_model(directory: Path, manifest: Manifest, tensors: Tensors) -> Manifest:
    """Write both files, the manifest with the weights' hash, which it returns. Raises OSError."""
    weights = save(
        {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    )  # it takes the buffer as it lies
    manifest = msgspec.structs.replace(manifest, weights_sha256=hashlib.sha256(weights).hexdigest())
    directory.mkdir(parents=True, exist_ok=True)
    (directory / WEIGHTS).write_bytes(weights)
    (directory / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2))
    return manifest


def read_model(directory: Path) -> tuple[Manifest, Tensors]:
    """The manifest and the tensors. Raises ConfigError, which says what of them is wrong."""
    try:
        raw = (directory / MANIFEST).read_bytes()
        weights = (directory / WEIGHTS).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{directory} is no learned router: {error.strerror or error}: {error.filename}; `pennyweight router train` makes one"
        ) from None
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{directory / MANIFEST}: {error}") from None
    for name, found, wanted in (
        ("format", manifest.format, FORMAT),
        ("features", manifest.features, FEATURE_VERSION),
    ):
        if found != wanted:
            raise ConfigError(f"{directory / MANIFEST}: {name} is {found}, here it is {wanted}: train it again")
    if not manifest.operating_points:
        raise ConfigError(f"{directory / MANIFEST}: operating_points is empty")
    if hashlib.sha256(weights).hexdigest() != manifest.weights_sha256:
        raise ConfigError(f"{directory / WEIGHTS} isn't the file that {MANIFEST} was written for: its hash differs")
    try:
        tensors = load(weights)
    except SafetensorError as error:
        raise ConfigError(f"{directory / WEIGHTS}: {error}") from None
    for name, shape in shapes(manifest.recipe.waves).items():
        if name not in tensors or tensors[name].shape != shape or tensors[name].dtype != np.float32:
            raise ConfigError(f"{directory / WEIGHTS}: {name} is not float32 of shape {shape}")
    return manifest, tensors


def shapes(waves: int) -> Mapping[str, tuple[int, ...]]:
    """Of every tensor but the calibration's, whose knots are as many as the data asked for."""
    forms, heads, features = len(FORMS), len(HEADS), len(NAMES)
    return {
        "rarity": (BUCKETS,),
        "text_scale": (forms,),
        "mean": (forms, features),
        "scale": (forms, features),
        "frequencies": (features, waves),
        "phases": (waves,),
        "text": (heads, BUCKETS),
        "task": (heads, forms, features + waves),
        "intercept": (heads, forms),
    }
