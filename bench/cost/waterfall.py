"""What each step of a list of configurations saved over the one before it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .estimate import Totals, interval

Interval = tuple[float, float]


class Step(msgspec.Struct, frozen=True):
    """One configuration in dollars for a million tokens (in and out), and what it saved over the step before it.

    ``saved`` is negative where a step made tokens dearer, and None for the first; ``saved_share`` is of the first step's cost.
    Intervals are 95 % bootstrap intervals, those of savings paired by round and request. ``basis`` says of a step that was not measured
    on these configurations what it is reckoned from (see ``savings``).
    """

    name: str
    dollars_per_million: float
    interval: Interval
    saved: float | None = None
    saved_interval: Interval | None = None
    saved_share: float | None = None
    basis: str | None = None


def waterfall(steps: Sequence[tuple[str, Totals]]) -> list[Step]:
    """The steps in their order, the baseline first; those of which no tokens came are left out."""
    found: list[Step] = []
    before = None
    for name, totals in steps:
        value, drawn = totals.blended()
        if value is None:
            continue
        if before is None:
            found.append(Step(name, value, interval(drawn)))
        else:
            saved = found[-1].dollars_per_million - value
            found.append(
                Step(
                    name,
                    value,
                    interval(drawn),
                    saved,
                    interval(before - drawn),
                    saved / found[0].dollars_per_million,
                )
            )
        before = drawn
    return found
