"""Loads as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from .distribution import Distribution
from .experiment import Point
from .view import label

# By name: heading, and what a second of it is shown as.
LATENCIES = {
    "ttft": "TTFT",
    "ttft_scheduled": "TTFT from schedule",
    "tpot": "TPOT",
    "itl": "ITL",
    "e2e": "E2E",
    "lag": "client lag",
}


def make_tables(points: Sequence[Point], knee: Mapping[str, Any] | None) -> list[Table]:
    """One table of all loads, and of a single load one of its latencies as well."""
    tables = [_loads(points, knee)]
    if len(points) == 1:
        tables.append(_latencies(points[0]))
    return tables


def _loads(points: Sequence[Point], knee: Mapping[str, Any] | None) -> Table:
    table = Table(title="throughput per second, latency in ms (p50 / p99)")
    table.add_column("load")
    has_slo = any(point.summary.goodput is not None for point in points)
    has_cache = any(point.prefix_cache["hit_rate"] is not None for point in points)
    headings = ["done", "failed", "requests", "tokens in", "tokens out", *(["goodput"] if has_slo else [])]
    for heading in [*headings, "TTFT", "TPOT", "E2E", "lag p99", *(["cached"] if has_cache else [])]:
        table.add_column(heading, justify="right")
    for number, point in enumerate(points):
        found = point.summary
        name = label(point.load) + (" (knee)" if knee is not None and knee["point"] == number else "")
        cells = [str(found.completed), str(found.failed), f"{found.request_throughput:.2f}"]
        cells += [f"{found.input_throughput:.0f}", f"{found.output_throughput:.0f}"]
        if has_slo:
            cells.append(f"{found.goodput or 0:.2f} ({found.slo_attainment or 0:.0%})")
        cells += [
            _pair(found.ttft),
            _pair(found.tpot),
            _pair(found.e2e),
            "-" if found.lag is None else _ms(found.lag.p99),
        ]
        if has_cache:
            cells.append(_cached(point.prefix_cache))
        table.add_row(name, *cells, style=None if not point.complaints else "red")
    return table


def _latencies(point: Point) -> Table:
    table = Table(title="latency in ms, with 95 % bootstrap intervals")
    table.add_column("")
    for heading in ("mean", "p50", "p90", "p95", "p99", "p99.9", "max"):
        table.add_column(heading, justify="right")
    for name, heading in LATENCIES.items():
        found: Distribution | None = getattr(point.summary, name)
        if found is not None:
            median = f"{_ms(found.p50)} [{_ms(found.p50_interval[0])}, {_ms(found.p50_interval[1])}]"
            last = f"{_ms(found.p99)} [{_ms(found.p99_interval[0])}, {_ms(found.p99_interval[1])}]"
            rest = (_ms(found.p90), _ms(found.p95))
            table.add_row(heading, _ms(found.mean), median, *rest, last, _ms(found.p999), _ms(found.max))
    client = point.client
    per_token = "" if client.cpu_us_per_token is None else f", {client.cpu_us_per_token:.0f} µs of CPU per output token"
    many = "process" if client.processes == 1 else "processes"
    table.caption = (
        f"client: {client.processes} {many}{per_token}, event loop late by {_ms(client.loop_lag_p99)} ms at p99"
    )
    return table


def _cached(cache: Mapping[str, float | None]) -> str:
    measured, bound = cache["hit_rate"], cache["infinite_hit_rate"]
    text = "-" if measured is None else f"{measured:.1%}"
    return text if bound is None else f"{text} of {bound:.1%}"


def _pair(found: Distribution | None) -> str:
    return "-" if found is None else f"{_ms(found.p50)} / {_ms(found.p99)}"


def _ms(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
