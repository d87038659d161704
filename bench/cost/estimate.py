"""Effective costs with 95 % bootstrap intervals over requests and rounds."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec
import numpy as np
from numpy.typing import NDArray

from .account import Round

RESAMPLES = 2000
LEVEL = (2.5, 97.5)
MILLION = 1_000_000

# The columns that are summed over answers.
DOLLARS, INPUT_DOLLARS, INPUT_TOKENS, OUTPUT_TOKENS, COMPLETED, ACCEPTED = range(6)

Floats = NDArray[np.float64]


class Estimate(msgspec.Struct, frozen=True):
    """A value in dollars with its interval; an end is None where it has none (no accepted answer in a resample)."""

    value: float
    low: float | None
    high: float | None


class EffectiveCost(msgspec.Struct, frozen=True):
    """What a configuration's tokens and answers cost, in dollars; None for what there was none of.

    ``per_million_input`` is the prompts' part of the bill over all prompt tokens, cached ones too, as hosted models charge for
    them; ``per_million_output`` the rest over output tokens; ``per_million_total`` the whole over both.
    """

    per_million_input: Estimate | None
    per_million_output: Estimate | None
    per_million_total: Estimate | None
    per_request: Estimate | None
    per_accepted: Estimate | None


class Totals(msgspec.Struct, frozen=True):
    """The sums over a configuration's rounds: as they were ([columns]), and in each resample ([resamples, columns])."""

    measured: Floats
    resampled: Floats

    def ratio(self, dollars: int, count: int | tuple[int, ...], per: int = 1) -> tuple[float | None, Floats]:
        """Dollars for ``per`` of what ``count`` counts: measured (None of none), and in each resample (infinite of none)."""
        counts = [count] if isinstance(count, int) else list(count)
        whole = float(self.measured[counts].sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = self.resampled[:, dollars] * per / self.resampled[:, counts].sum(axis=1)
        return (float(self.measured[dollars]) * per / whole if whole else None), drawn

    def blended(self) -> tuple[float | None, Floats]:
        """Dollars for a million tokens, in and out together."""
        return self.ratio(DOLLARS, (INPUT_TOKENS, OUTPUT_TOKENS), MILLION)


def totals(rounds: Sequence[Round], dollars_per_hour: Decimal, seed: int) -> Totals:
    """Sums over the rounds, and over resamples that draw rounds, and of each drawn round its answers, with replacement.

    The same seed draws the same rounds and answers for configurations of as many rounds and answers each, so that their
    differences are of the same requests (a paired bootstrap).
    """
    tables = [_table(one, dollars_per_hour) for one in rounds]
    generator = np.random.default_rng(seed)
    chosen = generator.integers(0, len(tables), (RESAMPLES, len(tables)))
    resampled = np.zeros((RESAMPLES, ACCEPTED + 1))
    for place in range(len(tables)):
        for number, table in enumerate(tables):
            rows = np.flatnonzero(chosen[:, place] == number)
            draws = generator.multinomial(len(table), np.full(len(table), 1 / len(table)), len(rows))
            resampled[rows] += draws @ table
    return Totals(np.sum([table.sum(axis=0) for table in tables], axis=0), resampled)


def effective_cost(found: Totals) -> EffectiveCost:
    """The costs that these sums come to."""
    blended, drawn = found.blended()
    output = Totals(found.measured.copy(), found.resampled.copy())
    output.measured[DOLLARS] -= output.measured[INPUT_DOLLARS]
    output.resampled[:, DOLLARS] -= output.resampled[:, INPUT_DOLLARS]
    return EffectiveCost(
        per_million_input=estimate(*found.ratio(INPUT_DOLLARS, INPUT_TOKENS, MILLION)),
        per_million_output=estimate(*output.ratio(DOLLARS, OUTPUT_TOKENS, MILLION)),
        per_million_total=estimate(blended, drawn),
        per_request=estimate(*found.ratio(DOLLARS, COMPLETED)),
        per_accepted=estimate(*found.ratio(DOLLARS, ACCEPTED)),
    )


def estimate(value: float | None, drawn: Floats) -> Estimate | None:
    """A value with the interval of its resamples."""
    if value is None:
        return None
    low, high = interval(drawn)
    return Estimate(value, low if np.isfinite(low) else None, high if np.isfinite(high) else None)


def interval(drawn: Floats) -> tuple[float, float]:
    """The 95 % interval of resampled values; an end that lies among infinite values is infinite."""
    low, high = np.percentile(drawn, LEVEL, method="nearest")
    return float(low), float(high)


def _table(one: Round, dollars_per_hour: Decimal) -> Floats:
    """A row of the columns for each answer."""
    return np.array(
        [
            (
                float(charge),
                float(charge) * one.prefill_share,
                answer.input_tokens * answer.is_completed,
                answer.output_tokens * answer.is_completed,
                answer.is_completed,
                answer.is_accepted,
            )
            for answer, charge in zip(one.answers, one.charges(dollars_per_hour), strict=True)
        ],
        dtype=np.float64,
    )
