"""What the measurements come to: one line for each precision and mode, and one for each way of serving it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.table import Table

from .answer import Uniqueness, uniqueness
from .cost import Cost, Speed
from .measure import Measured
from .variant import Variant


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One server's answers among themselves."""

    variant: Variant
    mode: str
    fingerprint: str
    found: Uniqueness
    background: int
    generations: int
    preemptions: int


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """All answers of a precision in a mode, of whatever server."""

    model: str
    dtype: str
    kernels: str
    mode: str
    found: Uniqueness
    fingerprints: int


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What the mode costs in a precision."""

    model: str
    dtype: str
    streams: int
    speeds: list[Speed]
    cost: Cost


def rows_of(measured: Sequence[Measured]) -> list[Row]:
    """A row for each server."""
    return [
        Row(
            variant=one.variant,
            mode=one.mode,
            fingerprint=one.fingerprint,
            found=uniqueness(one.digests),
            background=one.background,
            generations=one.generations,
            preemptions=one.preemptions,
        )
        for one in measured
    ]


def wholes_of(measured: Sequence[Measured]) -> list[Whole]:
    """All of one model, precision, kernels and mode together."""
    groups: dict[tuple[str, str, str, str], list[Measured]] = {}
    for one in measured:
        key = (one.variant.model, one.variant.dtype, one.variant.kernels, one.mode)
        groups.setdefault(key, []).append(one)
    return [
        Whole(
            model=model,
            dtype=dtype,
            kernels=kernels,
            mode=mode,
            found=uniqueness([digest for one in group for digest in one.digests]),
            fingerprints=len({one.fingerprint for one in group}),
        )
        for (model, dtype, kernels, mode), group in groups.items()
    ]


def make_tables(rows: Sequence[Row], wholes: Sequence[Whole], costs: Sequence[Costs]) -> list[Table]:
    """For people."""
    matrix = Table(title="the same prompt, over and over, among other work")
    for name in ("precision", "kernels, mode", "served with", "completions", "answers", "logits", "preemptions"):
        matrix.add_column(name, justify="left" if name in ("precision", "kernels, mode", "served with") else "right")
    for row in rows:
        one, found = row.variant, row.found
        matrix.add_row(
            one.dtype,
            f"{one.kernels}, {row.mode}",
            one.label,
            str(found.completions),
            str(found.unique_answers),
            str(found.unique_logits),
            str(row.preemptions),
        )
    for whole in wholes:
        found = whole.found
        counts = (found.completions, found.unique_answers, found.unique_logits)
        matrix.add_row(
            whole.dtype, f"{whole.kernels}, {whole.mode}", "all of them", *map(str, counts), "", style="bold"
        )
    if not costs:
        return [matrix]
    prices = Table(title="what bitwise costs against the fastest way")
    for name in ("precision", "way", "tokens/s, 1 stream", "tokens/s, many"):
        prices.add_column(name, justify="right" if name.startswith("tokens") else "left")
    for each in costs:
        for speed in each.speeds:
            told = (_rates(speed.alone), _rates(speed.together)) if speed.alone else ("too slow", "too slow")
            prices.add_row(each.dtype, speed.way.label, *told)
        prices.add_row(
            each.dtype, "cost of bitwise", f"{each.cost.alone:.1%}", f"{each.cost.together:.1%}", style="bold"
        )
    return [matrix, prices]


def _rates(found: Sequence[float]) -> str:
    middle = sorted(found)[len(found) // 2]
    return f"{middle:.1f} ({min(found):.1f} to {max(found):.1f})"
