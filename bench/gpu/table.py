"""Loads and the device's use as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table

from pennyweight.bench.load.view import label
from pennyweight.server.telemetry.gpu.peaks import Peak

from .metered import DevicePoint
from .utilisation import PHASES

SHARES = {
    "mfu": "MFU",
    "mbu": "MBU",
    "gpu": "GPU busy",
    "cpu": "CPU busy",
    "sm": "SM",
    "tensor": "tensor",
    "dram": "DRAM",
    "throttled": "throttled",
}
NUMBERS: dict[str, tuple[str, Callable[[float], str]]] = {
    "power_watts": ("power, W", lambda value: f"{value:.0f}"),
    "joules_per_token": ("J/token", lambda value: f"{value:.3g}"),
}
NONE = "-"


def make_table(points: Sequence[DevicePoint], device: str, precision: str, peak: Peak | None) -> Table:
    """One row for each load; columns that no load has a value for are left out. The time split is in % of the load's time."""
    table = Table(title=f"{device}, {precision}", caption=_caption(peak, precision))
    table.add_column("load")
    columns: list[tuple[str, Callable[[DevicePoint], str]]] = [
        ("tokens/s in", lambda one: f"{one.point.summary.input_throughput:.0f}"),
        ("out", lambda one: f"{one.point.summary.output_throughput:.0f}"),
    ]
    for name, heading in SHARES.items():
        if _is_known(points, name):
            columns.append((heading, lambda one, name=name: _percent(one.utilisation.get(name))))  # type: ignore[misc]
    for name, (heading, shown) in NUMBERS.items():
        if _is_known(points, name):
            columns.append((heading, lambda one, name=name, shown=shown: _number(one.utilisation.get(name), shown)))  # type: ignore[misc]
    for part in (*PHASES, "idle", "retries"):
        if any(one.time_split.get(part) for one in points):
            columns.append((part, lambda one, part=part: _percent(_part(one, part))))  # type: ignore[misc]
    if any(one.dollars_per_million_total is not None for one in points):
        columns.append(("$/M tokens", lambda one: _number(one.dollars_per_million_total, lambda value: f"{value:.3g}")))
    for heading, _ in columns:
        table.add_column(heading, justify="right")
    for one in points:
        cells = [cell(one) for _, cell in columns]
        table.add_row(label(one.point.load), *cells, style="red" if one.point.complaints else None)
    return table


def _caption(peak: Peak | None, precision: str) -> str:
    if peak is None:
        return "no peak is known for this device: give --peak-flops and --peak-bandwidth for MFU and MBU"
    flops = peak.flops_at(precision)
    parts = [f"{flops / 1e12:.3g} TFLOP/s" if flops else f"no peak FLOP/s at {precision}"]
    parts.append(f"{peak.bandwidth / 1e9:.0f} GB/s" if peak.bandwidth else "no peak bandwidth")
    return f"peak: {', '.join(parts)} ({peak.source})"


def _is_known(points: Sequence[DevicePoint], name: str) -> bool:
    return any(one.utilisation.get(name) is not None for one in points)


def _part(one: DevicePoint, part: str) -> float | None:
    seconds = one.time_split.get(part)
    total = sum((one.time_split.get(name) or 0.0) for name in (*PHASES, "idle"))
    return seconds / total if seconds is not None and total else None


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.1%}"


def _number(value: float | None, shown: Callable[[float], str]) -> str:
    return NONE if value is None else shown(value)
