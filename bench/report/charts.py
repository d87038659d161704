"""The few forms of plots that reports have. Each returns what paints it; see document.Paint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .document import Paint
from .svg import COLOURS, DASHES, INK, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# From this ratio of the largest to the smallest value on, an axis is logarithmic: the small values would lie on the axis.
LOG_FROM = 30.0
# Markers on more points than that run into each other, and so do the labels of as many loads on an axis.
FEW_POINTS = 40
FEW_LOADS = 9

Interval = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line: x and y of each point, and where known the interval of each y."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    intervals: Sequence[Interval | None] = ()


@dataclass(frozen=True)
class Mark:
    """A place that is pointed at: a vertical line at ``x`` or a horizontal one at ``y``."""

    label: str
    x: float | None = None
    y: float | None = None


def lines(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    marks: Sequence[Mark] = (),
    steps: bool = False,
    linear: bool = False,
    markers: bool = True,
) -> Paint:
    """Lines over a common x, from zero, with bands for the intervals.

    Axes become logarithmic where their values differ by much, unless ``linear`` is asked for: shares of a whole are.
    ``steps`` draws values that hold until the next one; ``markers`` show which points were measured.
    """

    def paint(axes: Axes) -> None:
        for number, one in enumerate(series):
            colour = COLOURS[number % len(COLOURS)]
            has_few = len(one.x) <= FEW_POINTS and markers and not steps
            axes.plot(
                one.x,
                one.y,
                color=colour,
                linestyle=DASHES[number % len(DASHES)],
                marker=MARKERS[number % len(MARKERS)] if has_few else "",
                drawstyle="steps-post" if steps else "default",
                label=one.label,
            )
            _band(axes, one, colour)
        _scale_x(axes, sorted({x for one in series for x in one.x}), x_label)
        values = [value for one in series for value in one.y]
        if not linear and _spans_much(values):
            _logarithmic(axes, "y")
            axes.set_ylabel(f"{y_label} (log)")
        else:
            highest = max([*values, *(found[1] for one in series for found in one.intervals if found is not None)])
            axes.set_ylim(min([0.0, *values]), 1.06 * highest or 1)
            axes.set_ylabel(y_label)
        _point_at(axes, marks)
        _legend(axes, len(series) + len(marks))

    return paint


def over_dates(series: Sequence[Series], y_label: str) -> Paint:
    """Lines over dates; x is in seconds since 1970, shown in UTC."""

    def paint(axes: Axes) -> None:
        import numpy as np
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        for number, one in enumerate(series):
            axes.plot(
                np.asarray(one.x).astype("datetime64[s]"),
                one.y,
                color=COLOURS[number % len(COLOURS)],
                linestyle=DASHES[number % len(DASHES)],
                marker=MARKERS[number % len(MARKERS)],
                label=one.label,
            )
        locator = AutoDateLocator(minticks=2, maxticks=5)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        axes.set_ylim(0, 1.06 * max(value for one in series for value in one.y))
        axes.set_ylabel(y_label)
        _legend(axes, len(series))

    return paint


def cumulative(series: Sequence[Series], x_label: str) -> Paint:
    """Distributions: the share of values (y) that are at most x."""

    def paint(axes: Axes) -> None:
        for number, one in enumerate(series):
            colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
            axes.plot(one.x, [100 * value for value in one.y], color=colour, linestyle=dash, label=one.label)
        positive = [value for one in series for value in one.x if value > 0]
        if _spans_much(positive):
            _logarithmic(axes, "x")
            axes.set_xlabel(f"{x_label} (log)")
        else:
            axes.set_xlim(left=0)
            axes.set_xlabel(x_label)
        axes.set_ylim(0, 101)
        axes.set_ylabel("share, %")
        _legend(axes, len(series))

    return paint


def bars(
    labels: Sequence[str],
    values: Sequence[float],
    x_label: str,
    show: Callable[[float], str],
    *,
    intervals: Sequence[Interval | None] = (),
    highlighted: Sequence[bool] = (),
) -> Paint:
    """Horizontal bars, the first on top, each with its value; those that are not highlighted have another colour."""

    def paint(axes: Axes) -> None:
        places = range(len(values))
        ours = highlighted or [True] * len(values)
        axes.barh(places, values, height=0.62, color=[COLOURS[0] if own else COLOURS[7] for own in ours])
        ends = list(values)
        for place, interval in enumerate(intervals):
            if interval is not None:
                axes.plot(interval, [place, place], color=INK, linewidth=1.4, marker="|", markersize=7)
                ends[place] = max(ends[place], interval[1])
        for place, (value, end) in enumerate(zip(values, ends, strict=True)):
            _write_beside(axes, show(value), max(end, 0), place)
        _rows(axes, labels)
        axes.set_xlim(left=min(0, *values), right=max([*ends, 0]) * 1.3 or 1)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(x_label)

    return paint


def stacked(labels: Sequence[str], parts: Sequence[tuple[str, Sequence[float]]], x_label: str) -> Paint:
    """Horizontal bars of parts, which follow each other; each part has a value for each bar."""

    def paint(axes: Axes) -> None:
        starts = [0.0] * len(labels)
        for number, (name, values) in enumerate(parts):
            colour = COLOURS[number % len(COLOURS)]
            axes.barh(range(len(labels)), values, left=starts, height=0.62, color=colour, label=name)
            starts = [start + value for start, value in zip(starts, values, strict=True)]
        _rows(axes, labels)
        axes.set_xlim(0, max([*starts, 0]) or 1)
        axes.set_xlabel(x_label)
        _legend(axes, len(parts))

    return paint


def waterfall(steps: Sequence[tuple[str, float, float]], x_label: str, show: Callable[[float], str]) -> Paint:
    """What is left after each step: (name, value before, value after), the first from zero. A saving is green, a loss red."""

    def paint(axes: Axes) -> None:
        for place, (_, before, after) in enumerate(steps):
            colour = COLOURS[7] if place == 0 else COLOURS[2] if after <= before else COLOURS[1]
            axes.barh(place, after - before, left=before, height=0.62, color=colour)
            if place:
                axes.plot([before, before], [place - 1, place], color=INK, linewidth=0.7, linestyle=":")
            text = (
                show(after)
                if place == 0
                else f"{show(after)} ({'-' if after <= before else '+'}{show(abs(after - before))})"
            )
            _write_beside(axes, text, max(before, after), place)
        _rows(axes, [name for name, _, _ in steps])
        axes.set_xlim(0, max(max(before, after) for _, before, after in steps) * 1.8 or 1)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(x_label)

    return paint


def ratios(labels: Sequence[str], values: Sequence[float], intervals: Sequence[Interval], x_label: str) -> Paint:
    """Ratios as points with their intervals, on a logarithmic axis with a line at 1, where there is no difference."""

    def paint(axes: Axes) -> None:
        for place, (value, interval) in enumerate(zip(values, intervals, strict=True)):
            axes.plot(interval, [place, place], color=COLOURS[0], linewidth=2.2, marker="|", markersize=7)
            axes.plot([value], [place], color=COLOURS[0], marker="o", markersize=6)
            axes.annotate(f"{value:.2f}", (value, place), xytext=(0, 6), textcoords="offset points", ha="center")
        _logarithmic(axes, "x")
        ends = [end for interval in intervals for end in interval]
        axes.set_xlim(min([*ends, 0.9]) / 1.15, max([*ends, 1.1]) * 1.15)
        axes.axvline(1, color=INK, linewidth=1)
        _rows(axes, labels)
        axes.set_ylim(len(labels) - 0.5, -0.75)  # room above the first row for its number
        axes.set_xlabel(x_label)

    return paint


def rows_height(rows: int) -> float:
    """Inches that a plot of so many horizontal bars wants."""
    return 0.9 + 0.36 * max(rows, 2)


def _write_beside(axes: Axes, text: str, x: float, y: float) -> None:
    axes.annotate(text, (x, y), xytext=(4, 0), textcoords="offset points", va="center", ha="left")


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _band(axes: Axes, series: Series, colour: str) -> None:
    known = [(x, *found) for x, found in zip(series.x, series.intervals, strict=False) if found is not None]
    if known:
        x, low, high = zip(*known, strict=True)
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def _spans_much(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) / min(values) > LOG_FROM


def _logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with ticks at 1, 2 and 5 written as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    if which == "x":
        axes.set_xscale("log")
    else:
        axes.set_yscale("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _scale_x(axes: Axes, places: Sequence[float], label: str) -> None:
    """Loads that were doubled again and again stand at equal distances, each with its number; anything else begins at zero."""
    from matplotlib.ticker import NullLocator

    if 2 < len(places) <= FEW_LOADS and _spans_much(places):
        axes.set_xscale("log")
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(f"{label} (log)")
    else:
        axes.set_xlim(left=0)
        axes.set_xlabel(label)


def _point_at(axes: Axes, marks: Sequence[Mark]) -> None:
    for mark in marks:
        if mark.x is not None:
            axes.axvline(mark.x, color=INK, linewidth=1.2, linestyle=(0, (1, 1.5)), label=mark.label)
        if mark.y is not None:
            axes.axhline(mark.y, color=INK, linewidth=1.2, linestyle=(0, (4, 2)), label=mark.label)


def _legend(axes: Axes, entries: int) -> None:
    """Above the plot, where it covers nothing; a single line needs none, for the title says what it is."""
    if entries > 1:
        columns = 2 if entries in (2, 4) else 3
        axes.figure.legend(loc="outside upper left", ncols=columns)
