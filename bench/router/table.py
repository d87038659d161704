"""An evaluation as tables for people, one for each kind of task."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from pennyweight.bench.report.quantities import share

from .calibration import Level
from .evaluation import Estimate, OfKind

HEADINGS = ("APGR", "beyond length", "share for 95 %", "CPT(50)", "CPT(80)", "AIQ")


def table(kind: str, found: OfKind) -> Table:
    """Each router's figures with their 95 % intervals."""
    heading = f"{kind}: {found.rows:,} prompts, weak right in {share(found.weak)}, strong in {share(found.strong)}"
    shown = Table(title=f"{heading}; intervals are 95 %")
    shown.add_column("router")
    for name in HEADINGS:
        shown.add_column(name, justify="right")
    for name, one in found.routers.items():
        apgr, least, half, most, aiq = one.figures.values()
        shown.add_row(
            name, _number(apgr), _number(one.beyond_length, sign=True), *map(_share, (least, half, most)), _number(aiq)
        )
    return shown


def levels_table(levels: Sequence[Level], right: float) -> Table:
    """What a cascade would give at each share of right answers that is asked for; ``right`` is that of all answers."""
    shown = Table(title=f"Of all answers {share(right)} are right; by calibrations that have not seen them")
    for name in ("min_right", "given", "of these right"):
        shown.add_column(name, justify="right")
    for one in levels:
        shown.add_row(f"{one.min_right:g}", share(one.given), "-" if one.given == 0 else share(one.right))
    return shown


def _number(one: Estimate, *, sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"{one.value:{form}} ({one.low:{form}} to {one.high:{form}})"


def _share(one: Estimate) -> str:
    return f"{100 * one.value:.0f} % ({100 * one.low:.0f} to {100 * one.high:.0f})"
