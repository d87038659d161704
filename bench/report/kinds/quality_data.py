"""The data of a result of kind "quality", as ``quantize eval`` writes it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Estimate(msgspec.Struct, frozen=True):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float]:
        return self.low, self.high


class Text(msgspec.Struct, frozen=True):
    """On held text; ``kl_quantiles`` are at even steps from 0 to 1."""

    tokens: int
    base_perplexity: Estimate
    perplexity: Estimate
    perplexity_ratio: Estimate
    kl: Estimate
    top1: Estimate
    kl_quantiles: tuple[float, ...] = ()


class Choices(msgspec.Struct, frozen=True):
    """On multiple-choice questions."""

    questions: int
    agreement: Estimate
    answered: int = 0
    base_accuracy: Estimate | None = None
    accuracy: Estimate | None = None


class Answers(msgspec.Struct, frozen=True):
    """Greedy answers; ``parted`` are the tokens of each before the first that differs, None for those that don't."""

    prompts: int
    max_tokens: int
    equal: Estimate
    matched_tokens: Estimate
    parted: tuple[int | None, ...] = ()


class Scores(msgspec.Struct, frozen=True):
    """Everything about quality."""

    text: Text
    choices: Choices | None = None
    answers: Answers | None = None


class Model(msgspec.Struct, frozen=True):
    """One of the two. Sizes in bytes."""

    model: str
    dtype: str
    disk_bytes: int
    weight_bytes: int
    resident_bytes: int
    kv_cache_dtype: str = "auto"


class Verdict(msgspec.Struct, frozen=True):
    """The gate's."""

    verdict: str
    reasons: tuple[str, ...]
    thresholds: Mapping[str, float | None]


class Served(msgspec.Struct, frozen=True):
    """One model's speed, by the number of streams."""

    tokens_per_second: Mapping[str, float]
    dollars_per_million: Mapping[str, float]
    resident_bytes: float | None = None


class Speed(msgspec.Struct, frozen=True):
    """Both models'."""

    base: Served
    quantised: Served
    complaints: tuple[str, ...] = ()


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "quality"."""

    base: Model
    quantised: Model
    scores: Scores
    verdict: Verdict
    speed: Speed | None = None
