"""A comparison as tables for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table
from rich.text import Text

from .comparison import MORE_IS_BETTER, Row
from .ratios import Ratio

MIB = 1024 * 1024
FEW_ROUNDS = 5

Form = Callable[[float], str]


def medians_table(rows: Sequence[Row], concurrency: Sequence[int], baseline: str) -> Table:
    """Each target's medians, a column each."""
    table = Table(title=f"medians of the rounds; the baseline is {baseline}")
    table.add_column("measure")
    for row in rows:
        table.add_column(Text(row.label), justify="right")
    for name, (heading, form) in _measures(concurrency).items():
        if any(name in row.medians for row in rows):
            table.add_row(heading, *(form(row.medians[name]) if name in row.medians else "-" for row in rows))
    if any(row.failures for row in rows):
        counts = ((row.rounds, row.rounds + len(row.failures)) for row in rows)
        table.add_row("rounds measured", *(f"{done} of {tried}" for done, tried in counts))
    return table


def ratios_table(rows: Sequence[Row], ratios: Sequence[Ratio], concurrency: Sequence[int]) -> Table:
    """Each target against the baseline, measure by measure, and whether that shows a difference."""
    (baseline,) = {one.baseline for one in ratios}
    rounds = max(one.rounds for one in ratios)
    table = Table(title=f"ratios to {baseline}, paired by round, with 95 % intervals", caption=_caption(rounds))
    for heading in ("server", "measure"):
        table.add_column(heading)
    for heading in ("baseline", "this", "ratio", "95 % interval", "rounds"):
        table.add_column(heading, justify="right")
    table.add_column("interval excludes 1")
    medians = {row.label: row.medians for row in rows}
    before = ""
    for one in ratios:
        heading, form = _measures(concurrency)[one.measure]
        if before and before != one.name:
            table.add_section()
        table.add_row(
            Text(one.name if one.name != before else ""),
            heading,
            form(medians[baseline][one.measure]),
            form(medians[one.name][one.measure]),
            f"{one.value:.3f}",
            "-" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}",
            str(one.rounds),
            _verdict(one),
        )
        before = one.name
    return table


def _verdict(one: Ratio) -> str:
    if one.low is None:
        return "-"
    if one.is_better is None:
        return "no: no difference shown"
    return "yes: better" if one.is_better else "yes: worse"


def _caption(rounds: int) -> str:
    if rounds >= FEW_ROUNDS:
        return "bootstrap over rounds and requests"
    return (
        f"bootstrap over rounds and requests; {rounds} round{'s' if rounds > 1 else ''} say little of how rounds differ, so "
        f"the intervals are too narrow: take --rounds {FEW_ROUNDS} or more"
    )


def _measures(concurrency: Sequence[int]) -> dict[str, tuple[str, Form]]:
    """By the measure's name its heading and its form."""
    found: dict[str, tuple[str, Form]] = {}
    for level in concurrency:
        at = f"at {level}"
        found |= {
            f"{MORE_IS_BETTER}@{level}": (f"tokens/s, {at}", _plain),
            f"ttft_p50@{level}": (f"TTFT p50, {at}, ms", _milliseconds),
            f"ttft_p99@{level}": (f"TTFT p99, {at}, ms", _milliseconds),
            f"tpot_p50@{level}": (f"TPOT p50, {at}, ms", _milliseconds),
            f"e2e_p50@{level}": (f"E2E p50, {at}, ms", _milliseconds),
            f"cpu_seconds_per_output_token@{level}": (f"CPU/token, {at}, ms", _milliseconds),
            f"cpu_seconds_per_request@{level}": (f"CPU/request, {at}, ms", _milliseconds),
        }
    return found | {
        "seconds_to_ready": ("ready, s", _seconds),
        "seconds_to_first_answer": ("first answer, s", _seconds),
        "resident_bytes": ("resident, MiB", _mebibytes),
    }


def _plain(value: float) -> str:
    return f"{value:.0f}"


def _milliseconds(value: float) -> str:
    return f"{value * 1000:.3g}" if value < 1 else f"{value * 1000:.0f}"


def _seconds(value: float) -> str:
    return f"{value:.1f}"


def _mebibytes(value: float) -> str:
    return f"{value / MIB:.0f}"
