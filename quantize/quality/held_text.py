"""Perplexity, divergence and agreement on held text: text that the model was not quantised with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from .bootstrap import Estimate, Resamples
from .divergence import Divergence

# Points of the curve that says which share of the positions has at most which divergence.
QUANTILES = 101


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of the text as a model reads it. The tokens after position ``first`` count; those up to it are given."""

    token_ids: list[int]
    first: int


class TextScores(msgspec.Struct, frozen=True, kw_only=True):
    """What held text shows. Perplexities are e to the mean of minus the log-probabilities, ``kl`` is in nats for a token.

    ``perplexity_ratio`` is the quantised model's by the base's. ``kl_quantiles`` are the divergences that ``QUANTILES`` even
    steps of the positions, from the least to the greatest, have at most. Intervals are over windows.
    """

    tokens: int
    windows: int
    base_perplexity: Estimate
    perplexity: Estimate
    perplexity_ratio: Estimate
    kl: Estimate
    kl_quantiles: tuple[float, ...]
    top1: Estimate


def cut(token_ids: Sequence[int], prefix: Sequence[int], size: int, at_most: int | None = None) -> Iterator[Window]:
    """Windows of ``size`` tokens that don't overlap, each after ``prefix``, which the tokenizer begins a text with.

    ``token_ids`` are without the prefix; at most ``at_most`` of them are taken. A window that would leave nothing to be
    predicted is left out.
    """
    room = size - len(prefix)
    given = list(token_ids[:at_most])
    for at in range(0, len(given), room):
        piece = [*prefix, *given[at : at + room]]
        first = max(len(prefix) - 1, 0)
        if len(piece) > first + 1:
            yield Window(piece, first)


def summarise(windows: Sequence[Divergence], seed: int = 0) -> TextScores:
    """The scores of windows, at least one."""
    counts = [len(one.kl) for one in windows]
    resamples = Resamples(len(windows), seed)
    base = [one.base_nll.sum() for one in windows]
    other = [one.other_nll.sum() for one in windows]
    every_kl = np.concatenate([one.kl for one in windows])
    return TextScores(
        tokens=sum(counts),
        windows=len(windows),
        base_perplexity=resamples.mean(base, counts, np.exp),
        perplexity=resamples.mean(other, counts, np.exp),
        perplexity_ratio=resamples.mean(np.subtract(other, base), counts, np.exp),
        kl=resamples.mean([one.kl.sum() for one in windows], counts),
        kl_quantiles=tuple(np.quantile(every_kl, np.linspace(0, 1, QUANTILES)).tolist()),
        top1=resamples.mean([one.agrees.sum() for one in windows], counts),
    )
