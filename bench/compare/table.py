"""A comparison as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table

from .comparison import MORE_IS_BETTER, Row

MIB = 1024 * 1024


def make_table(rows: Sequence[Row], concurrency: Sequence[int], baseline: str) -> Table:
    """Medians, and in brackets behind each its ratio to the baseline's best row."""
    columns: list[tuple[str, str, Callable[[float], str]]] = [
        *((f"tokens/s\nat {n}", f"{MORE_IS_BETTER}@{n}", _plain) for n in concurrency),
        *((f"TTFT p50\nat {n}, ms", f"ttft_p50@{n}", _milliseconds) for n in concurrency),
        ("ready, s", "seconds_to_ready", _seconds),
        ("first answer, s", "seconds_to_first_answer", _seconds),
        ("resident, MiB", "resident_bytes", _mebibytes),
    ]
    table = Table(title=f"medians, at so many streams (and times the best of {baseline})")
    table.add_column("server")
    for heading, _, _ in columns:
        table.add_column(heading, justify="right")
    for row in rows:
        cells = [_cell(row, name, form) for _, name, form in columns]
        table.add_row(f"{row.peer} {row.variant}" + ("\n(failed)" if row.failures else ""), *cells)
    return table


def _cell(row: Row, name: str, form: Callable[[float], str]) -> str:
    if name not in row.medians:
        return "-"
    ratio = f" ({row.ratios[name]:.2f})" if name in row.ratios else ""
    return form(row.medians[name]) + ratio


def _plain(value: float) -> str:
    return f"{value:.0f}"


def _milliseconds(value: float) -> str:
    return f"{value * 1000:.0f}"


def _seconds(value: float) -> str:
    return f"{value:.1f}"


def _mebibytes(value: float) -> str:
    return f"{value / MIB:.0f}"
