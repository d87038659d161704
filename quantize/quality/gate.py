"""What quantised weights must keep of their base, by how many bits they have, and whether they do."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from .held_text import TextScores


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the scores on held text; None asks nothing.

    ``min_top1`` is a share of positions, ``max_kl`` the mean divergence in nats for a token, ``max_perplexity_ratio`` the
    quantised model's perplexity by the base's.
    """

    min_top1: float | None = None
    max_kl: float | None = None
    max_perplexity_ratio: float | None = None

    def with_given(self, **given: float | None) -> Thresholds:
        """The same, but for those that are given and not None."""
        return msgspec.structs.replace(self, **{name: value for name, value in given.items() if value is not None})


class Verdict(msgspec.Struct, frozen=True):
    """``reasons`` are what a gate failed for; it has passed where there are none."""

    thresholds: Thresholds
    reasons: tuple[str, ...]

    @property
    def is_passed(self) -> bool:
        return not self.reasons


# Eight bits are to be told from 16 hardly ever. Of four, what is left of the model's knowledge of language is what can be
# asked for: their most probable token is often another one, of nearly the same probability.
BY_BITS: Mapping[int, Thresholds] = MappingProxyType(
    {8: Thresholds(min_top1=0.97, max_kl=0.01), 4: Thresholds(max_perplexity_ratio=1.08)}
)


def judge(scores: TextScores, thresholds: Thresholds) -> Verdict:
    """The verdict by the scores' values, not by their intervals: the same text gives the same verdict at any size of it."""
    reasons = []
    if thresholds.min_top1 is not None and not scores.top1.value >= thresholds.min_top1:
        reasons.append(f"top-1 agreement is {scores.top1.value:.2%}, at least {thresholds.min_top1:.2%} was asked for")
    if thresholds.max_kl is not None and not scores.kl.value <= thresholds.max_kl:
        reasons.append(f"mean KL divergence is {scores.kl.value:.4g}, at most {thresholds.max_kl:g} was asked for")
    ratio = scores.perplexity_ratio.value
    if thresholds.max_perplexity_ratio is not None and not ratio <= thresholds.max_perplexity_ratio:
        reasons.append(
            f"perplexity is {ratio:.4g} times the base's, at most {thresholds.max_perplexity_ratio:g} times was asked for"
        )
    return Verdict(thresholds, tuple(reasons))


def weight_bits(quantization: Mapping[str, Any] | None) -> int:
    """4 or 8: the fewest bits that a configuration's ``quantization_config`` gives to weights, rounded up to one of these.

    8 for one that says nothing of bits (fp8), and without one: weights that are quantised while they are loaded are int8.
    """
    found = list(_bits(quantization or {}))
    return 4 if found and min(found) <= 4 else 8


def _bits(config: Mapping[str, Any]) -> list[int]:
    if config.get("load_in_4bit"):
        return [4]
    groups = (config.get("config_groups") or {}).values()
    given = [
        config.get("bits"),
        config.get("w_bit"),
        *((group.get("weights") or {}).get("num_bits") for group in groups),
    ]
    return [int(bits) for bits in given if bits is not None]
