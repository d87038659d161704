"""Numbers as people read them: three digits, and the unit that suits the size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor, isfinite, log10

NONE = "–"


def plain(value: float | None) -> str:
    """Three significant digits, whole from a hundred on, with separators of thousands: 0.0123, 4.57, 12,346."""
    if value is None or not isfinite(value):
        return NONE
    if value == 0:
        return "0"
    decimals = max(0, 2 - floor(log10(abs(value))))
    shown = f"{value:,.{decimals}f}"
    return shown.rstrip("0").rstrip(".") if float(value).is_integer() and "." in shown else shown


def seconds(value: float | None) -> str:
    """A duration, from nanoseconds to hours."""
    if value is None or not isfinite(value):
        return NONE
    size = abs(value)
    if size >= 7200:
        return f"{plain(value / 3600)} h"
    if size >= 120:
        return f"{plain(value / 60)} min"
    if size >= 1 or size == 0:
        return f"{plain(value)} s"
    if size >= 1e-3:
        return f"{plain(value * 1e3)} ms"
    return f"{plain(value * 1e6)} µs"


def microseconds(value: float | None) -> str:
    """A duration that is given in microseconds."""
    return seconds(None if value is None else value / 1e6)


def share(value: float | None) -> str:
    """A fraction as a percentage, to the tenth."""
    return NONE if value is None or not isfinite(value) else f"{value * 100:.1f} %".replace(".0 %", " %")


def dollars(value: float | None) -> str:
    """Money in US dollars: cents, and below a dollar three digits where there are so many."""
    if value is None or not isfinite(value):
        return NONE
    sign, size = ("-" if value < 0 else ""), abs(value)
    if size >= 1 or size == 0:
        return f"{sign}${size:,.2f}"
    whole, _, decimals = plain(size).partition(".")
    return f"{sign}${whole}.{decimals.rstrip('0'):<02}"


def binary_bytes(value: float | None) -> str:
    """A size of memory."""
    if value is None or not isfinite(value):
        return NONE
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(value) >= size:
            return f"{plain(value / size)} {unit}"
    return f"{plain(value)} B"


def times(value: float | None) -> str:
    """A ratio."""
    return NONE if value is None or not isfinite(value) else f"{value:.2f}×"


def unit(name: str) -> Callable[[float | None], str]:
    """A form of numbers with a unit behind: ``unit("tokens/s")(412.3)`` is "412 tokens/s"."""

    def show(value: float | None) -> str:
        return NONE if value is None else f"{plain(value)} {name}"

    return show


def with_interval(
    value: float | None, interval: Sequence[float] | None, show: Callable[[float | None], str] = plain
) -> str:
    """A value and its 95 % interval: "85 ms (80 ms to 91 ms)"."""
    if value is None or interval is None:
        return show(value)
    low, high = interval
    return f"{show(value)} ({show(low)} to {show(high)})"


def change(before: float, now: float) -> str:
    """How much a value changed: "+4.2 %"."""
    if before == 0:
        return NONE
    return f"{(now / before - 1) * 100:+.1f} %"
