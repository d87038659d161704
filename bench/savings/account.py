"""What requests cost by the prices of tokens, and what an accepted answer costs then, with intervals.

A request costs its tokens at the list prices of the model that answered it; prompt tokens that the server's usage calls cached, by
its prefix cache, at that model's price for those. An answer that the response cache gave, or that shared another request's
generation, costs nothing: no model computed it. What it takes of the machine is measured apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pennyweight.bench.cost.estimate import RESAMPLES, Estimate, interval
from pennyweight.bench.load.sample import Sample

from .step import CHEAP, Prices

FREE = ("hit", "shared")
DOLLARS, ACCEPTED = range(2)

Floats = NDArray[np.float64]


class Answered(msgspec.Struct, frozen=True):
    """One request of a stream, as far as its cost goes. ``row`` is its prompt's.

    ``is_same`` and ``likeness`` compare its words with the dear tier's answer to the same request; None where there is none.
    """

    row: int
    model: str | None
    cache: str | None
    dollars: Decimal
    is_completed: bool
    is_accepted: bool
    is_same: bool | None = None
    likeness: float | None = None

    @property
    def is_free(self) -> bool:
        return self.is_completed and self.cache in FREE


def dollars(sample: Sample, prices: Prices) -> Decimal:
    """What a request cost. A failed one is charged for the tokens that it had, where a model had begun on it. Raises KeyError for a
    model without a price."""
    if sample.cache in FREE or sample.model is None:
        return Decimal()
    cached = min(sample.cached_tokens or 0, sample.prompt_tokens)
    return prices.of(sample.model).cost(sample.prompt_tokens, sample.output_tokens, cached)


class StepCost(msgspec.Struct, frozen=True):
    """One step on streams of one repeat share, over all rounds.

    ``per_accepted`` are dollars for an accepted answer (None where there was none), ``rounds`` that of each round and
    ``times_cheaper`` the first step's over this one's, paired by prompt. ``answered_by`` is how many requests each model
    answered and ``free`` how many were hits or shared a generation under way; ``free_share`` is the share of both,
    ``cheap_share`` and ``dear_share`` those of the tiers' models (a hosted fallback counts as dear). ``routed_dear_share`` is the
    dear's share of the answers that a model computed. Shares are of completed requests.
    """

    step: str
    repeat_share: float
    per_accepted: Estimate | None
    median: float | None
    rounds: list[float | None]
    times_cheaper: Estimate | None
    requests: int
    completed: int
    accepted: int
    dollars: float
    answered_by: dict[str, int]
    free: dict[str, int]
    free_share: float
    cheap_share: float
    dear_share: float
    routed_dear_share: float | None
    same_share: float | None
    likeness: float | None


Rounds = Sequence[Sequence[Answered]]


def step_costs(steps: Mapping[str, Rounds], repeat_share: float, seed: int) -> list[StepCost]:
    """The costs of steps, the one that others are compared with first; all have answered the same requests in each round."""
    baseline: tuple[float | None, Floats] | None = None
    found = []
    for name, rounds in steps.items():
        value, drawn = _per_accepted(rounds, seed)
        if baseline is None:
            baseline = value, drawn
        cheaper = None
        if value and baseline[0] is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                cheaper = _estimate(baseline[0] / value, baseline[1] / drawn)
        found.append(
            _step_cost(name, rounds, repeat_share, None if value is None else _estimate(value, drawn), cheaper)
        )
    return found


def _step_cost(
    name: str, rounds: Rounds, repeat_share: float, per_accepted: Estimate | None, cheaper: Estimate | None
) -> StepCost:
    answers = [one for answers in rounds for one in answers]
    completed = [one for one in answers if one.is_completed]
    computed = [one for one in completed if not one.is_free]
    by_model = Counter(one.model or "" for one in computed)
    cheap = by_model[CHEAP]
    dear = len(computed) - cheap
    each = [_ratio(np.sum([_columns(one) for one in answers], axis=0)) for answers in rounds if answers]
    known = [value for value in each if value is not None]
    same = [one.is_same for one in completed if one.is_same is not None]
    likeness = [one.likeness for one in completed if one.likeness is not None]
    return StepCost(
        step=name,
        repeat_share=repeat_share,
        per_accepted=per_accepted,
        median=float(np.median(known)) if known else None,
        rounds=each,
        times_cheaper=cheaper,
        requests=len(answers),
        completed=len(completed),
        accepted=sum(one.is_accepted for one in answers),
        dollars=float(sum((one.dollars for one in answers), Decimal())),
        answered_by=dict(by_model),
        free=dict(Counter(one.cache or "" for one in completed if one.is_free)),
        free_share=_share(len(completed) - len(computed), len(completed)),
        cheap_share=_share(cheap, len(completed)),
        dear_share=_share(dear, len(completed)),
        routed_dear_share=dear / len(computed) if computed else None,
        same_share=sum(same) / len(same) if same else None,
        likeness=float(np.mean(likeness)) if likeness else None,
    )


def _per_accepted(rounds: Rounds, seed: int) -> tuple[float | None, Floats]:
    """Dollars per accepted answer over all rounds, and in each resample.

    A resample draws prompts, within each round, with replacement, and each with all of its requests: those are no independent
    cases, for one is paid and its repeats are not. The same seed draws the same prompts for all steps.
    """
    generator = np.random.default_rng([seed, 0xB007])
    measured = np.zeros(2)
    drawn = np.zeros((RESAMPLES, 2))
    for answers in rounds:
        groups: dict[int, Floats] = {}
        for one in answers:
            groups[one.row] = groups.get(one.row, np.zeros(2)) + _columns(one)
        if not groups:
            continue
        table = np.stack([groups[row] for row in sorted(groups)])
        measured += table.sum(axis=0)
        drawn += generator.multinomial(len(table), np.full(len(table), 1 / len(table)), RESAMPLES) @ table
    with np.errstate(divide="ignore", invalid="ignore"):
        return _ratio(measured), drawn[:, DOLLARS] / drawn[:, ACCEPTED]


def _columns(one: Answered) -> Floats:
    return np.array([float(one.dollars), one.is_accepted], dtype=np.float64)


def _ratio(columns: Floats) -> float | None:
    return float(columns[DOLLARS] / columns[ACCEPTED]) if columns[ACCEPTED] else None


def _estimate(value: float, drawn: Floats) -> Estimate:
    drawn = drawn[~np.isnan(drawn)]
    low, high = interval(drawn) if len(drawn) else (np.inf, np.inf)
    return Estimate(value, low if np.isfinite(low) else None, high if np.isfinite(high) else None)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
