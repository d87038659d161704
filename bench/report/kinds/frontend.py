"""``bench frontend``: what a server's front takes of the CPU and adds to the latency, beside others."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pennyweight.bench.report.charts import Series, bars, lines, rows_height
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import microseconds, plain, seconds
from pennyweight.bench.report.stored import StoredResult

OWN = "pennyweight"


class Row(msgspec.Struct, frozen=True):
    """A front at a number of connections; added latencies in seconds."""

    server: str
    connections: int
    version: str | None = None
    requests_per_second: float | None = None
    cpu_us_per_request: float | None = None
    cpu_us_per_streamed_token: float | None = None
    cpu_us_per_ready_token: float | None = None
    added_p50: float | None = None
    added_p99: float | None = None


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "frontend"."""

    rows: tuple[Row, ...]


def tell(stored: StoredResult) -> Story:
    """The story of fronts side by side."""
    rows = msgspec.convert(stored.result.data, Data).rows
    figures = [
        *_bars(rows, "request", "CPU for a request, not streamed", lambda row: row.cpu_us_per_request),
        *_bars(rows, "token", "CPU for a streamed token", lambda row: row.cpu_us_per_streamed_token),
        *_over_connections(rows),
    ]
    return Story(
        title="What the front costs",
        answers=tuple(_answers(rows)),
        key_figures=_key_figures(rows),
        figures=tuple(figures),
        tables=(_table(rows),),
    )


def _servers(rows: tuple[Row, ...]) -> list[str]:
    return list(dict.fromkeys(row.server for row in rows))


def _least(rows: tuple[Row, ...], server: str, value_of: Callable[[Row], float | None]) -> float | None:
    """The least that the server took, at whatever number of connections."""
    return min((value for row in rows if row.server == server and (value := value_of(row)) is not None), default=None)


def _answers(rows: tuple[Row, ...]) -> list[str]:
    found = []
    for server in sorted(_servers(rows), key=lambda name: not name.startswith(OWN)):
        a_request = _least(rows, server, lambda row: row.cpu_us_per_request)
        a_token = _least(rows, server, lambda row: row.cpu_us_per_streamed_token)
        parts = []
        if a_request is not None:
            parts.append(f"{microseconds(a_request)} of CPU for a request")
        if a_token is not None:
            parts.append(f"{microseconds(a_token)} for a streamed token")
        if parts:
            found.append(f"{server} takes {' and '.join(parts)}, at the least.")
    return found


def _key_figures(rows: tuple[Row, ...]) -> tuple[KeyFigure, ...]:
    found = []
    for server in _servers(rows):
        for name, value in (
            ("CPU per request", _least(rows, server, lambda row: row.cpu_us_per_request)),
            ("CPU per streamed token", _least(rows, server, lambda row: row.cpu_us_per_streamed_token)),
        ):
            if value is not None:
                found.append(KeyFigure(f"{server}: {name}", value, microseconds, more_is_better=False))
    return tuple(found)


def _bars(rows: tuple[Row, ...], name: str, title: str, value_of: Callable[[Row], float | None]) -> list[Figure]:
    known = {server: value for server in _servers(rows) if (value := _least(rows, server, value_of)) is not None}
    if not known:
        return []
    labels, values = list(known), list(known.values())
    alt = f"{title}: " + ", ".join(f"{label} {microseconds(value)}" for label, value in known.items()) + "."
    own = [label.startswith(OWN) for label in labels]
    paint = bars(labels, values, "µs of CPU", plain, highlighted=own)
    return [
        Figure(f"cpu-{name}", title, alt, paint, "The least over all numbers of connections.", rows_height(len(labels)))
    ]


def _over_connections(rows: tuple[Row, ...]) -> list[Figure]:
    found = []
    measures: tuple[tuple[str, str, str, Callable[[Row], float | None]], ...] = (
        ("requests", "Requests per second over connections", "requests/s", lambda row: row.requests_per_second),
        ("p50", "Latency added at p50", "ms", lambda row: None if row.added_p50 is None else 1000 * row.added_p50),
        ("p99", "Latency added at p99", "ms", lambda row: None if row.added_p99 is None else 1000 * row.added_p99),
    )
    for name, title, y_label, value_of in measures:
        series = []
        for server in _servers(rows):
            own = [
                (row.connections, value)
                for row in rows
                if row.server == server and (value := value_of(row)) is not None
            ]
            if own:
                x, y = zip(*sorted(own), strict=True)
                series.append(Series(server, [float(one) for one in x], list(y)))
        if any(len(one.x) > 1 for one in series):
            alt = f"{title}: " + "; ".join(
                f"{one.label} {plain(one.y[0])} to {plain(one.y[-1])} {y_label}" for one in series
            )
            found.append(Figure(f"over-{name}", title, alt, lines(series, "connections", y_label)))
    return found


def _table(rows: tuple[Row, ...]) -> Table:
    columns = (
        "server",
        "connections",
        "requests/s",
        "CPU per request",
        "CPU per streamed token",
        "CPU per ready token",
        "added p50",
        "added p99",
    )
    body = tuple(
        (
            " ".join(part for part in (row.server, row.version) if part),
            f"{row.connections:,}",
            plain(row.requests_per_second),
            microseconds(row.cpu_us_per_request),
            microseconds(row.cpu_us_per_streamed_token),
            microseconds(row.cpu_us_per_ready_token),
            seconds(row.added_p50),
            seconds(row.added_p99),
        )
        for row in rows
    )
    note = "A streamed token comes at a step of its own, a ready one as soon as the server can take it."
    return Table("fronts", "Every front", columns, body, note=note)
