"""``bench gpu``: how full the device is at each load, what its time goes to, and what a token costs then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pennyweight.bench.report.charts import Series, lines, rows_height, stacked
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import NONE, dollars, plain, share
from pennyweight.bench.report.stored import StoredResult

from .loads import Load, Summary, axis_label, comparable

# Shares between 0 and 1 that are drawn together, in the order of the legend; others are in the table.
SHARES = {
    "mfu": "MFU",
    "mbu": "MBU",
    "gpu": "busy (NVML)",
    "sm": "SM active",
    "tensor": "tensor cores active",
    "dram": "DRAM active",
    "cpu": "CPU busy",
}
PARTS = ("prefill", "decode", "recompute", "retries", "idle")


class Point(msgspec.Struct, frozen=True):
    """A load, what the server did under it, how the device was used, and what its time went to (seconds or shares)."""

    load: Load = Load()
    summary: Summary = Summary()
    utilisation: Mapping[str, float | None] = {}
    time_split: Mapping[str, float | None] = {}
    dollars_per_million_total: float | None = None


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "gpu". Raises msgspec.ValidationError where it has none of this."""

    points: tuple[Point, ...]
    device: Any = None
    timeline: Sequence[Mapping[str, Any]] = ()


def tell(stored: StoredResult) -> Story:
    """The story of a device under load."""
    data = msgspec.convert(stored.result.data, Data)
    points = comparable(data.points)
    if not points:
        return Story("Utilisation", answers=("No load was measured.",))
    fullest = max(points, key=lambda one: one.summary.output_throughput or 0)
    figures = (
        *_utilisation(points),
        *_power(points),
        *_time_split(points),
        *_prices(points),
        *_timeline(data.timeline),
    )
    return Story(
        title=f"How full the device is: {_device(data.device)}",
        answers=tuple(_answers(fullest)),
        key_figures=_key_figures(fullest),
        figures=figures,
        tables=(_table(points),),
    )


def split_shares(point: Point) -> dict[str, float]:
    """The parts of the time as shares of their sum, in the order of PARTS, then what else there is."""
    known = {name: value for name, value in point.time_split.items() if value is not None}
    total = sum(known.values())
    names = [*(name for name in PARTS if name in known), *(name for name in known if name not in PARTS)]
    return {name: known[name] / total for name in names} if total else {}


def _device(device: Any) -> str:
    if isinstance(device, Mapping):
        return str(device.get("name") or device.get("device") or "unnamed")
    return str(device or "unnamed")


def _answers(fullest: Point) -> list[str]:
    used = fullest.utilisation
    found = []
    parts = [f"{share(used[name])} {label}" for name, label in SHARES.items() if used.get(name) is not None]
    if parts:
        found.append(f"At its fullest ({fullest.load}) the device was used to {', '.join(parts)}.")
    split = split_shares(fullest)
    wasted = {
        name: value for name, value in split.items() if name in ("recompute", "retries", "idle") and value >= 0.005
    }
    if split:
        useful = sum(split.get(name, 0) for name in ("prefill", "decode"))
        lost = ", ".join(f"{share(value)} {name}" for name, value in wasted.items()) or "next to nothing"
        found.append(f"Of its time {share(useful)} went to prefill and decode; lost were {lost}.")
    if fullest.dollars_per_million_total is not None:
        found.append(f"A million tokens cost {dollars(fullest.dollars_per_million_total)} at that load.")
    return found or [f"Nothing is known of the device at {fullest.load}."]


def _key_figures(fullest: Point) -> tuple[KeyFigure, ...]:
    found = []
    if fullest.dollars_per_million_total is not None:
        found.append(KeyFigure("$/M tokens", fullest.dollars_per_million_total, dollars, more_is_better=False))
    for name in ("mfu", "mbu"):
        if (value := fullest.utilisation.get(name)) is not None:
            found.append(KeyFigure(SHARES[name], value, share, more_is_better=True))
    if fullest.summary.output_throughput is not None:
        found.append(KeyFigure("output tokens/s", fullest.summary.output_throughput, plain, more_is_better=True))
    return tuple(found)


def _of(points: Sequence[Point], name: str, label: str, factor: float = 1.0) -> Series:
    known = [
        (one.load.size or 0.0, factor * value) for one in points if (value := one.utilisation.get(name)) is not None
    ]
    return Series(label, [x for x, _ in known], [y for _, y in known])


def _utilisation(points: Sequence[Point]) -> list[Figure]:
    series = [one for name, label in SHARES.items() if (one := _of(points, name, label, 100)).x]
    if not series:
        return []
    alt = (
        "Shares of the peak: "
        + "; ".join(f"{one.label} {plain(one.y[0])} % to {plain(one.y[-1])} %" for one in series)
        + "."
    )
    paint = lines(series, axis_label([one.load for one in points]), "of the peak, %", linear=True)
    return [Figure("utilisation", "How much of the device each load uses", alt, paint, height=3.4)]


def _power(points: Sequence[Point]) -> list[Figure]:
    figures = []
    for name, title, y_label in (
        ("power_watts", "Power against load", "watts"),
        ("joules_per_token", "Energy per token against load", "joules per token"),
    ):
        one = _of(points, name, name)
        if one.x:
            alt = f"{title}: {plain(one.y[0])} to {plain(one.y[-1])} {y_label}."
            figures.append(
                Figure(name, title, alt, lines([one], axis_label([point.load for point in points]), y_label))
            )
    return figures


def _time_split(points: Sequence[Point]) -> list[Figure]:
    splits = [(str(one.load), found) for one in points if (found := split_shares(one))]
    if not splits:
        return []
    names = list(dict.fromkeys(name for _, found in splits for name in found))
    labels = [label for label, _ in splits]
    parts = [(name, [100 * found.get(name, 0) for _, found in splits]) for name in names]
    alt = "; ".join(
        f"{label}: " + ", ".join(f"{name} {share(value)}" for name, value in found.items()) for label, found in splits
    )
    paint = stacked(labels, parts, "share of the time, %")
    return [
        Figure("time-split", "What the device's time goes to", f"{alt}.", paint, height=rows_height(len(labels)) + 0.4)
    ]


def _prices(points: Sequence[Point]) -> list[Figure]:
    known = [(one.load.size or 0.0, value) for one in points if (value := one.dollars_per_million_total) is not None]
    if not known:
        return []
    series = Series("$/M tokens", [x for x, _ in known], [y for _, y in known])
    alt = (
        f"Dollars per million tokens: {dollars(series.y[0])} at the least load, {dollars(series.y[-1])} at the largest."
    )
    paint = lines([series], axis_label([one.load for one in points]), "$ per million tokens")
    return [Figure("dollars", "The fuller the device, the cheaper a token", alt, paint)]


def _timeline(rows: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Shares over the run's time, of rows with their time in seconds as "at", "time" or "seconds"."""
    clock = next(
        (name for name in ("at", "time", "seconds") if rows and isinstance(rows[0].get(name), int | float)), None
    )
    if clock is None:
        return []
    # Of several devices, which do the same, one is shown: all of them in one line would be a zigzag.
    rows = [row for row in rows if row.get("device") == rows[0].get("device")]
    series = []
    for name, label in SHARES.items():
        known = [(float(row[clock]), 100 * float(row[name])) for row in rows if isinstance(row.get(name), int | float)]
        if known:
            series.append(Series(label, [x for x, _ in known], [y for _, y in known]))
    if not series:
        return []
    alt = (
        "Use of the device over the run: "
        + ", ".join(f"{one.label} at most {plain(max(one.y))} %" for one in series)
        + "."
    )
    paint = lines(series, "seconds from the start", "of the peak, %", steps=True, linear=True)
    return [Figure("timeline", "Use of the device over the run", alt, paint, height=3.4)]


def _table(points: Sequence[Point]) -> Table:
    names = list(
        dict.fromkeys(
            name for one in points for name, value in one.utilisation.items() if isinstance(value, int | float)
        )
    )
    rows = []
    for one in points:
        cells = []
        for name in names:
            value = one.utilisation.get(name)
            cells.append(NONE if value is None else share(value) if name in SHARES else plain(value))
        rows.append(
            (str(one.load), plain(one.summary.output_throughput), dollars(one.dollars_per_million_total), *cells)
        )
    columns = ("load", "output tokens/s", "$/M tokens", *(SHARES.get(name, name.replace("_", " ")) for name in names))
    return Table("points", "Every load", columns, tuple(rows))
