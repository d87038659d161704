"""The rows as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from .rounds import Row


def make_table(rows: Sequence[Row], rounds: int) -> Table:
    """One line for each server and number of connections."""
    caption = (
        "≥: the server had time left on its core. added: to the same load on the upstream alone, of whole answers."
    )
    table = Table(
        title=f"what a server costs before its engine, on one core; medians of {rounds} rounds", caption=caption
    )
    for heading in (
        "server",
        "connections",
        "requests/s",
        "CPU µs\n/request",
        "CPU µs\n/streamed token",
        "CPU µs\n/ready token",
    ):
        table.add_column(heading, justify="left" if heading == "server" else "right")
    table.add_column("added p50\nms", justify="right")
    table.add_column("added p99\nms", justify="right")
    before = ""
    for row in rows:
        rate = "-"
        if row.requests_per_second is not None:
            rate = f"{'' if row.is_saturated else '≥ '}{row.requests_per_second:.0f}"
        table.add_row(
            row.server if row.server != before else "",
            str(row.connections),
            rate,
            f"{row.cpu_us_per_request:.0f}",
            f"{row.cpu_us_per_streamed_token:.1f}",
            f"{row.cpu_us_per_ready_token:.1f}",
            _milliseconds(row.added_p50),
            _milliseconds(row.added_p99),
        )
        before = row.server
    return table


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.2f}"
