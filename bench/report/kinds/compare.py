"""``bench compare``: servers side by side, in rounds, and how each stands to the baseline.

Older results have no ``ratios``: their baseline was every row of one server, and a row's ratios are to the best of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

import msgspec

from pennyweight.bench.report.charts import Interval, bars, ratios, rows_height
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import NONE, binary_bytes, plain, seconds, times, with_interval
from pennyweight.bench.report.stored import StoredResult

SPEED = "output_tokens_per_second"
OWN = "pennyweight"
Show = Callable[[float | None], str]
# What each measure is called, and how its values are written.
MEASURES: Mapping[str, tuple[str, Show]] = {
    SPEED: ("tokens/s", plain),
    "ttft_p50": ("TTFT p50", seconds),
    "ttft_p99": ("TTFT p99", seconds),
    "tpot_p50": ("TPOT p50", seconds),
    "e2e_p50": ("E2E p50", seconds),
    "cpu_seconds_per_output_token": ("CPU per output token", seconds),
    "cpu_seconds_per_request": ("CPU per request", seconds),
    "seconds_to_ready": ("ready after", seconds),
    "seconds_to_first_answer": ("first answer after", seconds),
    "resident_bytes": ("resident", binary_bytes),
}


class Row(msgspec.Struct, frozen=True):
    """A server in one configuration: medians over its rounds, and their ratios to the baseline."""

    peer: str
    variant: str
    rounds: int
    medians: Mapping[str, float]
    ratios: Mapping[str, float] = {}
    failures: tuple[str, ...] = ()
    label: str = ""

    @property
    def name(self) -> str:
        return self.label or f"{self.peer} {self.variant}"


class Ratio(msgspec.Struct, frozen=True):
    """A measure of a row over the baseline's, paired by round, with its 95 % interval; ``is_better`` is None where that
    holds 1.
    """

    name: str
    baseline: str
    measure: str
    value: float
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    is_better: bool | None = None

    @property
    def interval(self) -> Interval | None:
        return None if self.low is None or self.high is None else (self.low, self.high)


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
    label: str = ""

    @property
    def name(self) -> str:
        return self.label or f"{self.peer} {self.variant}"


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "compare"."""

    rows: tuple[Row, ...]
    measurements: tuple[Measurement, ...] = ()
    ratios: tuple[Ratio, ...] = ()


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
        tables=(_table(data, baseline, levels), *_ratios_table(data)),
    )


def concurrencies(rows: tuple[Row, ...]) -> list[int]:
    """The numbers of streams that were measured."""
    return sorted({int(name.partition("@")[2]) for row in rows for name in row.medians if name.startswith(f"{SPEED}@")})


def paired_ratios(data: Data, row: Row, baseline: str, level: int) -> list[float]:
    """Of each round, the row's tokens/s to the best that any row of the baseline gave in the same round."""
    speeds = {
        (one.name, one.peer, one.round): load.output_tokens_per_second
        for one in data.measurements
        for load in one.loads
        if load.concurrency == level
    }
    found = []
    for (name, _, number), speed in speeds.items():
        if name == row.name:
            theirs = [value for (_, peer, at), value in speeds.items() if peer == baseline and at == number]
            if theirs:
                found.append(speed / max(theirs))
    return found


def _answers(data: Data, baseline: str, levels: list[int]) -> list[str]:
    found = [_answer(one) for one in data.ratios if one.measure.startswith(f"{SPEED}@")]
    own = [row for row in data.rows if row.peer == OWN and row.peer != baseline and not data.ratios]
    for level in levels:
        parts = [
            f"{row.variant} {plain(row.medians[f'{SPEED}@{level}'])} tokens/s ({times(row.ratios[f'{SPEED}@{level}'])})"
            for row in own
            if f"{SPEED}@{level}" in row.ratios
        ]
        if parts:
            found.append(f"At {_streams(level)}, Pennyweight against the best of {baseline}: {', '.join(parts)}.")
    found += [
        f"{row.name} failed in {len(row.failures)} rounds: {row.failures[0]}" for row in data.rows if row.failures
    ]
    return found or [f"{len(data.rows)} servers were measured in turn."]


def _answer(one: Ratio) -> str:
    """ "At 32 streams, int8 gave 1.95× the tokens of bfloat16 (95 % interval 1.91× to 1.99×)."."""
    said = f"At {_streams(int(one.measure.partition('@')[2]))}, {one.name} gave {times(one.value)} the tokens of {one.baseline}"
    if one.interval is None:
        return f"{said}, in one round."
    low, high = one.interval
    shown = ", which holds 1: no difference is shown" if one.is_better is None else ""
    return f"{said} (95 % interval {times(low)} to {times(high)}{shown})."


def _key_figures(rows: tuple[Row, ...]) -> tuple[KeyFigure, ...]:
    return tuple(
        KeyFigure(f"{row.name}: tokens/s at {name.partition('@')[2]}", value, plain, more_is_better=True)
        for row in rows
        for name, value in row.medians.items()
        if name.startswith(f"{SPEED}@")
    )


def _figures(data: Data, baseline: str, level: int) -> list[Figure]:
    name, streams = f"{SPEED}@{level}", _streams(level)
    rows = [row for row in data.rows if name in row.medians]
    labels, values = [row.name for row in rows], [row.medians[name] for row in rows]
    spreads = [_spread(data, row, level) for row in rows]
    speed = Figure(
        f"speed-{level}",
        f"Output tokens per second, {streams}",
        f"Tokens per second with {streams}: "
        + ", ".join(f"{label} {plain(value)}" for label, value in zip(labels, values, strict=True)),
        bars(labels, values, "output tokens/s", plain, intervals=spreads, highlighted=[r.peer == OWN for r in rows]),
        "Medians; the lines go from the slowest to the fastest round.",
        height=rows_height(len(rows)),
    )
    if data.ratios:
        return [speed, *_measured_ratios(data.ratios, level)]
    return [speed, *_round_ratios(data, rows, baseline, level)]


def _measured_ratios(found: Sequence[Ratio], level: int) -> list[Figure]:
    """A load's ratios with their intervals, of every measure and target."""
    shown = [one for one in found if one.measure.endswith(f"@{level}") and one.interval is not None]
    if not shown:
        return []
    baseline, several = shown[0].baseline, len({one.name for one in shown}) > 1
    labels = [(f"{one.name}, " if several else "") + MEASURES[one.measure.partition("@")[0]][0] for one in shown]
    values, ends = [one.value for one in shown], [one.interval for one in shown if one.interval is not None]
    title = f"Ratios to {baseline}, {_streams(level)}"
    return [
        Figure(
            f"ratio-{level}",
            title if several else f"{shown[0].name}: {title[0].lower()}{title[1:]}",
            f"Ratios to {baseline}: "
            + ", ".join(f"{label} {value:.2f}" for label, value in zip(labels, values, strict=True)),
            ratios(labels, values, ends, f"times {baseline} (log)"),
            "Paired by round: the median of the rounds' ratios, and its 95 % interval. More is better of tokens/s, less of all else.",
            height=rows_height(len(shown)) + 0.2,
        )
    ]


def _round_ratios(data: Data, rows: Sequence[Row], baseline: str, level: int) -> list[Figure]:
    paired = [
        (row.name, found)
        for row in rows
        if row.peer != baseline and (found := paired_ratios(data, row, baseline, level))
    ]
    if not paired:
        return []
    middles = [median(found) for _, found in paired]
    ends = [(min(found), max(found)) for _, found in paired]
    return [
        Figure(
            f"ratio-{level}",
            f"Times the tokens of {baseline}, {_streams(level)}",
            f"Ratios to the best of {baseline}: "
            + ", ".join(f"{one} {middle:.2f}" for (one, _), middle in zip(paired, middles, strict=True)),
            ratios([one for one, _ in paired], middles, ends, f"times the best of {baseline} (log)"),
            "Paired: each round's ratio to the same round's baseline; the median, and lines from the least to the most.",
            height=rows_height(len(paired)) + 0.2,
        )
    ]


def _spread(data: Data, row: Row, level: int) -> Interval | None:
    found = [
        load.output_tokens_per_second
        for one in data.measurements
        for load in one.loads
        if one.name == row.name and load.concurrency == level
    ]
    return (min(found), max(found)) if len(found) > 1 else None


def _table(data: Data, baseline: str, levels: list[int]) -> Table:
    rows = data.rows
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
    against = baseline if data.ratios else f"the best of {baseline}"
    note = f"Medians; in brackets, times {against}." if any(row.ratios for row in rows) else "Medians."
    return Table("servers", "Every server", tuple(columns), tuple(body), note=note)


def _ratios_table(data: Data) -> list[Table]:
    """Every ratio that was measured, and what it shows."""
    if not data.ratios:
        return []
    medians = {row.name: row.medians for row in data.rows}
    body = []
    for one in data.ratios:
        measure, at, level = one.measure.partition("@")
        heading, show = MEASURES[measure]
        body.append(
            (
                one.name,
                f"{heading} at {level}" if at else heading,
                show(medians[one.baseline][one.measure]),
                show(medians[one.name][one.measure]),
                with_interval(one.value, one.interval),
                str(one.rounds),
                _verdict(one),
            )
        )
    baseline = data.ratios[0].baseline
    columns = ("server", "measure", baseline, "this", "ratio (95 % interval)", "rounds", "excludes 1")
    note = f"Paired by round; the interval is a bootstrap over rounds and requests. The baseline is {baseline}."
    return [Table("ratios", "Every ratio", columns, tuple(body), text_columns=2, note=note)]


def _verdict(one: Ratio) -> str:
    if one.interval is None:
        return NONE
    return "no" if one.is_better is None else f"yes: {'better' if one.is_better else 'worse'}"


def _streams(level: int) -> str:
    return "1 stream" if level == 1 else f"{level} streams"
