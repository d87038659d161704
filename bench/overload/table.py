"""Goodput against load as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from pennyweight.bench.load.distribution import Distribution

from .account import MEBIBYTE
from .measure import Level, Outcome


def make_tables(outcome: Outcome, accounts: Sequence[dict[str, Any]]) -> list[Table]:
    """Every level, and what they come to."""
    return [_levels(outcome.levels), _accounts(accounts)]


def _levels(levels: Sequence[Level]) -> Table:
    table = Table(title="requests per second; times in ms")
    table.add_column("load")
    for heading in (
        "",
        "asked",
        "goodput",
        "answered",
        "refused",
        "gave up",
        "TTFT p50",
        "p99",
        "refusal p50",
        "p99",
        "lag p99",
    ):
        table.add_column(heading, justify="right")
    for one in sorted(levels, key=lambda level: (level.share, level.configuration, level.round)):
        found = one.summary
        table.add_row(
            f"{one.share:g} x",
            one.configuration,
            f"{one.rate:.2f}",
            f"{found.goodput or 0:.2f}",
            f"{found.request_throughput:.2f}",
            str(one.refused),
            str(one.gave_up),
            _ms(found.ttft, "p50"),
            _ms(found.ttft, "p99"),
            _ms(one.refusals, "p50"),
            _ms(one.refusals, "p99"),
            _ms(found.lag, "p99"),
            style="red" if one.complaints else None,
        )
    return table


def _accounts(accounts: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="what is kept of the peak goodput")
    table.add_column("")
    shares = [share for share, _ in accounts[0]["kept"]]
    for heading in ("peak", *(f"{share:g} x" for share in shares), "CPU per refusal, µs", "memory, MiB"):
        table.add_column(heading, justify="right")
    for one in accounts:
        cpu = one["cpu_us_per_refusal"]
        table.add_row(
            one["name"],
            f"{one['peak_goodput']:.2f}",
            *(f"{value:.1%}" for _, value in one["kept"]),
            "-" if cpu is None else f"{cpu:.0f}",
            f"{one['first_memory'] / MEBIBYTE:.0f} to {one['last_memory'] / MEBIBYTE:.0f}",
        )
    return table


def _ms(found: Distribution | None, percentile: str) -> str:
    if found is None:
        return "-"
    value: float = getattr(found, percentile) * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
