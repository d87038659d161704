"""Runs of one benchmark over time: the key figures of each, how they changed, and what else did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from .charts import Series, over_dates
from .document import Figure, KeyFigure, Story, Table
from .kinds.generic import flatten, written
from .quantities import NONE, change
from .stored import StoredResult

# Columns of a table and lines of a plot beyond which neither can be read.
RUNS = 8
LINES = 6
# Differ with every run and say nothing about whether two can be compared.
PASSING = ("out", "url", "seed")


@dataclass(frozen=True)
class Told:
    """A result with its story."""

    stored: StoredResult
    story: Story


def history(runs: Sequence[Told]) -> tuple[Table, Figure | None]:
    """The table of at least two runs, oldest first, and the plot where a figure was measured more than once.

    Changes are those of the last run to the one before it. Figures are matched by name.
    """
    shown = runs[-RUNS:]
    by_run = [{one.name: one for one in told.story.key_figures} for told in shown]
    names = list(dict.fromkeys(name for figures in by_run for name in figures))
    rows = []
    for name in names:
        known = [figures[name] for figures in by_run if name in figures]
        cells = [figures[name].show(figures[name].value) if name in figures else NONE for figures in by_run]
        rows.append((name, *cells, _change(known)))
    dates = [f"{told.stored.finished:%Y-%m-%d %H:%M}" for told in shown]
    table = Table("history", "Key figures of each run", ("figure", *dates, "change"), tuple(rows), note=_notes(shown))
    return table, _figure(shown, names)


def differences(runs: Sequence[Told]) -> list[str]:
    """What else than the figures differs between runs: settings, versions and the machine, each with its values in turn."""
    found = []
    known = [_circumstances(told.stored) for told in runs]
    for name in dict.fromkeys(name for one in known for name in one):
        values = list(dict.fromkeys(written(one.get(name)) for one in known))
        if len(values) > 1:
            found.append(f"{name} ({', then '.join(values)})")
    return found


def _circumstances(stored: StoredResult) -> dict[str, object]:
    result = stored.result
    machine = asdict(result.machine) | {"cpu_flags": list(result.machine.cpu_flags)}
    settings = {name: value for name, value in flatten(result.settings) if name not in PASSING}
    return {**settings, **{f"{name}'s version": one for name, one in result.versions.items()}, **machine}


def _notes(runs: Sequence[Told]) -> str:
    notes = [
        f"Change: of the last run to the one before. Runs differ in {'; '.join(found)}."
        if (found := differences(runs))
        else ""
    ]
    invalid = [f"{told.stored.finished:%Y-%m-%d %H:%M}" for told in runs if not told.stored.result.is_valid]
    if invalid:
        notes.append(f"Invalid, not to be quoted: {', '.join(invalid)}.")
    return " ".join(note for note in notes if note)


def _change(known: Sequence[KeyFigure]) -> str:
    if len(known) < 2:
        return NONE
    before, now = known[-2].value, known[-1].value
    if before == now:
        return "none"
    is_better = (now > before) == known[-1].more_is_better
    return f"{change(before, now)}, {'better' if is_better else 'worse'}"


def _figure(runs: Sequence[Told], names: Sequence[str]) -> Figure | None:
    """Every figure as a share of its first value, so that all fit in one plot."""
    series = []
    for name in names:
        known = [
            (told.stored.finished.timestamp(), figure.value)
            for told in runs
            for figure in told.story.key_figures
            if figure.name == name
        ]
        if len(known) > 1 and known[0][1] > 0:
            series.append(Series(name, [at for at, _ in known], [100 * value / known[0][1] for _, value in known]))
    if not series:
        return None
    alt = "Shares of the first run's value: " + "; ".join(
        f"{one.label} {one.y[-1]:.0f} % in the last run" for one in series
    )
    left_out = f"The first {LINES} of {len(series)} figures." if len(series) > LINES else ""
    return Figure(
        "history",
        "Key figures over time, the first run being 100 %",
        alt,
        over_dates(series[:LINES], "of the first run, %"),
        left_out,
        3.6,
    )
