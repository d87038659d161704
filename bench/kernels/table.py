"""Kernels as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from .measure import Ceilings, Measured, Timing

OURS = "pennyweight"


def make_table(measured: Sequence[Measured], ceilings: Ceilings) -> Table:
    """A row for each kernel and size: ours in microseconds, its share of the roof, and how much longer others take."""
    rates = ", ".join(f"{name} {rate / 1e9:.0f} GOP/s" for name, rate in ceilings.operations.items())
    table = Table(caption=f"Ceilings: {rates}, {ceilings.bandwidth / 1e9:.1f} GB/s read.", caption_justify="left")
    for column in ("kernel", "size"):
        table.add_column(column, no_wrap=True)
    for column in ("µs", "of the roof", "bound by", "torch", "reference"):
        table.add_column(column, justify="right")
    others = {(key_of(one.timing), one.timing.by): one.timing.seconds for one in measured}
    for one in measured:
        if one.timing.by != OURS:
            continue
        key = key_of(one.timing)
        ratios = [
            f"{seconds / one.timing.seconds:.2f}x" if (seconds := others.get((key, by))) else "-"
            for by in ("torch", "reference")
        ]
        table.add_row(
            one.timing.kernel,
            size_of(one.timing),
            f"{1e6 * one.timing.seconds:.1f}",
            f"{100 * one.share:.0f} %",
            one.bound,
            *ratios,
        )
    return table


def key_of(timing: Timing) -> tuple[str, str]:
    """What timings by different hands have in common."""
    return timing.kernel, size_of(timing)


def size_of(timing: Timing) -> str:
    """The sizes in a few characters: 8 x 576 x 1536, or by name where the order doesn't tell."""
    if set(timing.sizes) <= {"M", "K", "N", "V"}:
        return " x ".join(map(str, timing.sizes.values()))
    return f"{timing.sizes['queries']} queries, context {timing.sizes['context']}"
