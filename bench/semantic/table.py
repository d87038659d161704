"""An evaluation as tables for people."""

from __future__ import annotations

from rich.table import Table

from pennyweight.bench.report.quantities import NONE, share, with_interval

from .evaluation import Estimate, Evaluation, Row


def bounds_table(found: Evaluation) -> Table:
    """Each bound: the policy under it, and the best fixed threshold that keeps it."""
    table = Table(
        title=f"{found.requests:,} requests, {found.same:,} with the same question before; intervals are 95 %"
    )
    table.add_column("bound on wrong hits")
    table.add_column("decided by")
    for heading in ("hits", "wrong, of requests", "wrong, of hits", "judged"):
        table.add_column(heading, justify="right")
    for one in found.bounded:
        name = f"{share(one.bound)} of {one.over}"
        table.add_row(name, f"learned{', strict' if one.strict else ''}", *_cells(one.policy), f"{one.policy.judged:,}")
        if one.strict:
            continue
        if one.static is None:
            table.add_row("", "no fixed threshold keeps it", NONE, NONE, NONE, "")
        else:
            table.add_row("", f"best fixed: {one.static.name}", *_cells(one.static), "")
    return table


def sweep_table(found: Evaluation) -> Table:
    """Every fixed threshold, and the floor."""
    table = Table(title="fixed thresholds, over the whole stream")
    table.add_column("threshold")
    for heading in ("hits", "wrong, of requests", "wrong, of hits"):
        table.add_column(heading, justify="right")
    for row in (*found.sweep.values(), *([found.characters] if found.characters else [])):
        table.add_row(row.name, *_cells(row))
    return table


def _cells(row: Row) -> tuple[str, str, str]:
    return _share(row.hit_rate), _share(row.wrong_of_requests), _share(row.wrong_of_hits)


def _share(found: Estimate | None) -> str:
    return NONE if found is None else with_interval(found.value, (found.low, found.high), _percent)


def _percent(value: float | None) -> str:
    """To the hundredth: bounds are of a few."""
    return NONE if value is None else f"{100 * value:.2f} %"
