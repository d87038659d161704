"""What cache and router save, as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from pennyweight.bench.cost.estimate import Estimate

from .account import StepCost
from .report import Waited

THOUSAND = 1000


def cost_table(costs: Sequence[StepCost]) -> Table:
    """A row for each step at each repeat share: what accepted answers cost and who gave them."""
    table = Table(title="by token prices, with 95 % intervals; shares are of completed requests")
    table.add_column("repeats")
    table.add_column("step")
    headings = ("$/1000 accepted", "times cheaper", "accepted", "from cache", "cheap", "dear", "same words", "ROUGE-L")
    for heading in headings:
        table.add_column(heading, justify="right")
    for one in costs:
        table.add_row(
            f"{one.repeat_share:.0%}",
            escape(one.step),
            _estimate(one.per_accepted, THOUSAND),
            _estimate(one.times_cheaper),
            f"{one.accepted}/{one.requests}",
            f"{one.free_share:.1%}",
            f"{one.cheap_share:.1%}",
            f"{one.dear_share:.1%}",
            "-" if one.same_share is None else f"{one.same_share:.0%}",
            "-" if one.likeness is None else f"{one.likeness:.2f}",
        )
    return table


def waited_table(waited: Sequence[Waited]) -> Table:
    """A row for each step at each repeat share: what clients waited and the machine computed."""
    table = Table(title="on this machine: medians of the rounds' percentiles")
    table.add_column("repeats")
    table.add_column("step")
    for heading in ("TTFT p50", "E2E p50", "E2E p99", "CPU s per accepted answer"):
        table.add_column(heading, justify="right")
    for one in waited:
        cells = (one.ttft_p50, one.e2e_p50, one.e2e_p99, one.cpu_seconds_per_accepted)
        shown = ("-" if value is None else f"{value:.3f}" for value in cells)
        table.add_row(f"{one.repeat_share:.0%}", escape(one.step), *shown)
    return table


def _estimate(found: Estimate | None, times: int = 1) -> str:
    if found is None:
        return "-"
    low, high = ("-" if end is None else f"{end * times:.3g}" for end in (found.low, found.high))
    return f"{found.value * times:.3g}\n{low} to {high}"
