"""``bench compare``: servers side by side, in rounds, and how each stands to the baseline's best."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

import msgspec

from pennyweight.bench.report.charts import Interval, bars, ratios, rows_height
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import binary_bytes, plain, seconds, times
from pennyweight.bench.report.stored import StoredResult

SPEED = "output_tokens_per_second"
OWN = "pennyweight"


class Row(msgspec.Struct, frozen=True):
    """A server in one configuration: medians over its rounds, and their ratios to the best of the baseline."""

    peer: str
    variant: str
    rounds: int
    medians: Mapping[str, float]
    ratios: Mapping[str, float] = {}
    failures: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.peer} {self.variant}"


class LoadSummary(msgspec.Struct, frozen=True):
    """A load of one round."""

    concurrency: int
    output_tokens_per_second: float
    ttft_p50: float | None = None


class Measurement(msgspec.Struct, frozen=True):
    """A round of a row."""

    peer: str
    variant: str
    round: int
    loads: tuple[LoadSummary, ...] = ()


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "compare"."""

    rows: tuple[Row, ...]
    measurements: tuple[Measurement, ...] = ()


def tell(stored: StoredResult) -> Story:
    """The story of a comparison."""
    data = msgspec.convert(stored.result.data, Data)
    baseline = str(stored.result.settings.get("baseline", ""))
    levels = concurrencies(data.rows)
    return Story(
        title="Servers side by side",
        answers=tuple(_answers(data, baseline, levels)),
        key_figures=_key_figures(data.rows),
        figures=tuple(figure for level in levels for figure in _figures(data, baseline, level)),
        tables=(_table(data.rows, baseline, levels),),
    )


def concurrencies(rows: tuple[Row, ...]) -> list[int]:
    """The numbers of streams that were measured."""
    return sorted({int(name.partition("@")[2]) for row in rows for name in row.medians if name.startswith(f"{SPEED}@")})


def paired_ratios(data: Data, row: Row, baseline: str, level: int) -> list[float]:
    """Of each round, the row's tokens/s to the best that any row of the baseline gave in the same round."""
    speeds = {
        (one.peer, one.variant, one.round): load.output_tokens_per_second
        for one in data.measurements
        for load in one.loads
        if load.concurrency == level
    }
    found = []
    for (peer, variant, number), speed in speeds.items():
        if (peer, variant) == (row.peer, row.variant):
            theirs = [value for (name, _, at), value in speeds.items() if name == baseline and at == number]
            if theirs:
                found.append(speed / max(theirs))
    return found


def _answers(data: Data, baseline: str, levels: list[int]) -> list[str]:
    own = [row for row in data.rows if row.peer == OWN and row.peer != baseline]
    found = []
    for level in levels:
        parts = [
            f"{row.variant} {plain(row.medians[f'{SPEED}@{level}'])} tokens/s ({times(row.ratios[f'{SPEED}@{level}'])})"
            for row in own
            if f"{SPEED}@{level}" in row.ratios
        ]
        if parts:
            streams = "1 stream" if level == 1 else f"{level} streams"
            found.append(f"At {streams}, Pennyweight against the best of {baseline}: {', '.join(parts)}.")
    found += [
        f"{row.name} failed in {len(row.failures)} rounds: {row.failures[0]}" for row in data.rows if row.failures
    ]
    return found or [f"{len(data.rows)} servers were measured in turn."]


def _key_figures(rows: tuple[Row, ...]) -> tuple[KeyFigure, ...]:
    return tuple(
        KeyFigure(f"{row.name}: tokens/s at {name.partition('@')[2]}", value, plain, more_is_better=True)
        for row in rows
        for name, value in row.medians.items()
        if name.startswith(f"{SPEED}@")
    )


def _figures(data: Data, baseline: str, level: int) -> list[Figure]:
    name, streams = f"{SPEED}@{level}", "1 stream" if level == 1 else f"{level} streams"
    rows = [row for row in data.rows if name in row.medians]
    labels, values = [row.name for row in rows], [row.medians[name] for row in rows]
    spreads = [_spread(data, row, level) for row in rows]
    figures = [
        Figure(
            f"speed-{level}",
            f"Output tokens per second, {streams}",
            f"Tokens per second with {streams}: "
            + ", ".join(f"{label} {plain(value)}" for label, value in zip(labels, values, strict=True)),
            bars(
                labels, values, "output tokens/s", plain, intervals=spreads, highlighted=[r.peer == OWN for r in rows]
            ),
            "Medians; the lines go from the slowest to the fastest round.",
            height=rows_height(len(rows)),
        )
    ]
    paired = [
        (row.name, found)
        for row in rows
        if row.peer != baseline and (found := paired_ratios(data, row, baseline, level))
    ]
    if paired:
        middles = [median(found) for _, found in paired]
        ends = [(min(found), max(found)) for _, found in paired]
        figures.append(
            Figure(
                f"ratio-{level}",
                f"Times the tokens of {baseline}, {streams}",
                f"Ratios to the best of {baseline}: "
                + ", ".join(f"{one} {middle:.2f}" for (one, _), middle in zip(paired, middles, strict=True)),
                ratios([one for one, _ in paired], middles, ends, f"times the best of {baseline} (log)"),
                "Paired: each round's ratio to the same round's baseline; the median, and lines from the least to the most.",
                height=rows_height(len(paired)) + 0.2,
            )
        )
    return figures


def _spread(data: Data, row: Row, level: int) -> Interval | None:
    found = [
        load.output_tokens_per_second
        for one in data.measurements
        for load in one.loads
        if (one.peer, one.variant) == (row.peer, row.variant) and load.concurrency == level
    ]
    return (min(found), max(found)) if len(found) > 1 else None


def _table(rows: tuple[Row, ...], baseline: str, levels: list[int]) -> Table:
    columns = ["server"]
    columns += [f"tokens/s at {level}" for level in levels] + [f"TTFT p50 at {level}" for level in levels]
    columns += ["ready after", "first answer after", "resident", "rounds"]
    measures = [(f"{SPEED}@{level}", plain) for level in levels] + [(f"ttft_p50@{level}", seconds) for level in levels]
    measures += [("seconds_to_ready", seconds), ("seconds_to_first_answer", seconds), ("resident_bytes", binary_bytes)]
    body = []
    for row in rows:
        cells = []
        for name, show in measures:
            ratio = f" ({row.ratios[name]:.2f})" if name in row.ratios else ""
            cells.append(show(row.medians.get(name)) + ratio)
        failed = f", {len(row.failures)} failed" if row.failures else ""
        body.append((row.name, *cells, f"{row.rounds}{failed}"))
    note = f"Medians; in brackets, times the best of {baseline}." if any(row.ratios for row in rows) else "Medians."
    return Table("servers", "Every server", tuple(columns), tuple(body), note=note)
