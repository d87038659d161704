"""The few forms of plots that reports have. Each returns what paints it; see document.Paint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .document import Paint
from .svg import COLOURS, DASHES, INK, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# From this ratio of the largest to the smallest value on, an axis is logarithmic: the small values would lie on the axis.
LOG_FROM = 30.0
# Markers on more points than that run into each other.
FEW_POINTS = 40

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
    series: Sequence[Series], x_label: str, y_label: str, *, marks: Sequence[Mark] = (), steps: bool = False
) -> Paint:
    """Lines over a common x, from zero, with bands for the intervals; logarithmic where values differ by much."""

    def paint(axes: Axes) -> None:
        for number, one in enumerate(series):
            colour = COLOURS[number % len(COLOURS)]
            has_few = len(one.x) <= FEW_POINTS and not steps
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
        is_logarithmic = _scale(axes, [value for one in series for value in one.y])
        axes.set_xlabel(x_label)
        axes.set_ylabel(f"{y_label} (log)" if is_logarithmic else y_label)
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
        axes.set_ylim(bottom=0)
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
        if positive and max(positive) / min(positive) > LOG_FROM:
            axes.set_xscale("log")
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
            axes.annotate(f" {show(value)}", (max(end, 0), place), va="center", ha="left")
        _rows(axes, labels)
        axes.set_xlim(left=min(0, *values), right=max([*ends, 0]) * 1.3 or 1)
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
            axes.annotate(f" {text}", (max(before, after), place), va="center", ha="left")
        _rows(axes, [name for name, _, _ in steps])
        axes.set_xlim(0, max(max(before, after) for _, before, after in steps) * 1.45 or 1)
        axes.set_xlabel(x_label)

    return paint


def ratios(labels: Sequence[str], values: Sequence[float], intervals: Sequence[Interval], x_label: str) -> Paint:
    """Ratios as points with their intervals, on a logarithmic axis with a line at 1, where there is no difference."""

    def paint(axes: Axes) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        for place, (value, interval) in enumerate(zip(values, intervals, strict=True)):
            axes.plot(interval, [place, place], color=COLOURS[0], linewidth=2.2, marker="|", markersize=7)
            axes.plot([value], [place], color=COLOURS[0], marker="o", markersize=6)
            axes.annotate(f"{value:.2f}", (value, place), xytext=(0, 6), textcoords="offset points", ha="center")
        axes.set_xscale("log")
        ends = [end for interval in intervals for end in interval]
        axes.set_xlim(min([*ends, 0.9]) / 1.15, max([*ends, 1.1]) * 1.15)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.axvline(1, color=INK, linewidth=1)
        _rows(axes, labels)
        axes.set_ylim(len(labels) - 0.5, -0.75)  # room above the first row for its number
        axes.set_xlabel(x_label)

    return paint


def rows_height(rows: int) -> float:
    """Inches that a plot of so many horizontal bars wants."""
    return 0.9 + 0.36 * max(rows, 2)


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


def _scale(axes: Axes, values: Sequence[float]) -> bool:
    """Whether y became logarithmic."""
    positive = [value for value in values if value > 0]
    if len(positive) == len(values) and positive and max(positive) / min(positive) > LOG_FROM:
        axes.set_yscale("log")
        axes.set_xlim(left=0)
        return True
    axes.set_ylim(bottom=min([0.0, *values]))
    axes.set_xlim(left=0)
    return False


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
