"""``bench serve``: latency and throughput of an endpoint over its load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from pennyweight.bench.report.charts import Interval, Mark, Series, bars, cumulative, lines, rows_height
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import plain, seconds, share, with_interval
from pennyweight.bench.report.stored import StoredResult

from .loads import Distribution, Point, Summary, axis_label, comparable, percentile
from .samples import Sample, cumulative_curve, itls, read_samples, running_over_time, ttfts

LATENCIES = {"ttft": "Time to first token (TTFT)", "tpot": "Time per output token (TPOT)", "e2e": "Whole answer (E2E)"}
# More curves than that in one plot can't be told apart.
CURVES = 4


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "serve". Raises msgspec.ValidationError where it has none of this."""

    points: tuple[Point, ...]
    endpoint: Mapping[str, Any] = {}
    workload: Mapping[str, Any] = {}
    slo: Mapping[str, Any] | None = None
    knee: Mapping[str, Any] | None = None


def tell(stored: StoredResult) -> Story:
    """The story of a load test."""
    data = msgspec.convert(stored.result.data, Data)
    if not data.points:
        return Story("Load", answers=("No load was measured.",))
    best = chosen_point(data)
    samples = {
        number: found for number, one in enumerate(data.points) if (found := read_samples(stored.directory, number))
    }
    return Story(
        title=f"Load on {data.endpoint.get('model', 'the server')}",
        answers=_answers(data, best),
        key_figures=key_figures(best.summary),
        figures=(*_over_load(data), *_of_samples(data.points, samples, best), *_errors(data.points)),
        tables=(_table(sorted(data.points, key=_order)), _latency_table(best)),
    )


def knee(data: Data) -> Point | None:
    """The point from which on more load brings little more than waiting."""
    number = (data.knee or {}).get("point")
    return data.points[number] if isinstance(number, int) and 0 <= number < len(data.points) else None


def chosen_point(data: Data) -> Point:
    """The point that the answer is about: the one at the knee, else the one of the largest goodput or throughput."""
    return knee(data) or max(
        data.points, key=lambda one: (one.summary.goodput or 0, one.summary.output_throughput or 0)
    )


def key_figures(summary: Summary) -> tuple[KeyFigure, ...]:
    """What a load is remembered by."""
    wanted: list[tuple[str, float | None, Callable[[float], str], bool]] = [
        ("output tokens/s", summary.output_throughput, plain, True),
        ("goodput, requests/s", summary.goodput, plain, True),
        ("TTFT p50", percentile(summary.ttft, "p50"), seconds, False),
        ("TTFT p99", percentile(summary.ttft, "p99"), seconds, False),
        ("TPOT p50", percentile(summary.tpot, "p50"), seconds, False),
        ("E2E p99", percentile(summary.e2e, "p99"), seconds, False),
    ]
    return tuple(KeyFigure(name, value, show, more) for name, value, show, more in wanted if value is not None)


def _answers(data: Data, best: Point) -> tuple[str, ...]:
    found = best.summary
    where = "At the knee" if best is knee(data) else "At its best"
    at = f"{where} ({best.load})" if len(data.points) > 1 else f"With {best.load}"
    speed = f"{plain(found.output_throughput)} output tokens/s and {plain(found.request_throughput)} requests/s"
    answers = [
        f"{at} the server gave {speed}; "
        f"the first token came after {seconds(percentile(found.ttft, 'p50'))} in the median and "
        f"{seconds(percentile(found.ttft, 'p99'))} at p99, each one after it in {seconds(percentile(found.tpot, 'p50'))}."
    ]
    if found.slo_attainment is not None and data.slo:
        wanted = ", ".join(
            f"{name.upper()} within {_limit(value)}" for name, value in data.slo.items() if value is not None
        )
        answers.append(
            f"{share(found.slo_attainment)} of the requests met the objective ({wanted}): "
            f"{plain(found.goodput)} good requests/s."
        )
    if found.cached_tokens and found.input_tokens:
        answers.append(
            f"{share(found.cached_tokens / found.input_tokens)} of the input tokens came from the prefix cache."
        )
    failed = sum(one.summary.failed for one in data.points)
    asked = sum(one.summary.requests for one in data.points)
    answers.append(f"{failed:,} of {asked:,} requests failed." if failed else f"None of {asked:,} requests failed.")
    return tuple(answers)


def _limit(value: Any) -> str:
    return seconds(value) if isinstance(value, int | float) else str(value)


def _over_load(data: Data) -> list[Figure]:
    """Latency and throughput against load; nothing where only one load was measured."""
    points = comparable(data.points)
    if len(points) < 2:
        return []
    x_label = axis_label([one.load for one in points])
    bend = knee(data)
    marks = [Mark("knee", x=bend.load.size)] if bend is not None and bend in points else []
    ends = f"from {points[0].load} to {points[-1].load}"
    throughput = _series("output", points, lambda one: one.output_throughput)
    rates = [_series("completed", points, lambda one: one.request_throughput)]
    rates += [good] if (good := _series("within the SLO", points, lambda one: one.goodput)).x else []
    figures = [
        Figure(
            "throughput",
            "Throughput against load",
            f"Output tokens per second {ends}: {_ends(throughput, plain)}.",
            lines([throughput], x_label, "output tokens/s", marks=marks),
        ),
        Figure(
            "goodput",
            "Requests completed, and those within the SLO" if len(rates) > 1 else "Requests completed",
            f"Requests per second {ends}: " + "; ".join(f"{one.label} {_ends(one, plain)}" for one in rates) + ".",
            lines(rates, x_label, "requests/s", marks=marks),
        ),
    ]
    for name, title in LATENCIES.items():
        series = [_latency(points, name, "p50"), _latency(points, name, "p99")]
        if not series[0].x:
            continue
        shown = "; ".join(f"{one.label} {_ends(one, plain)} ms" for one in series if one.x)
        figures.append(
            Figure(
                f"{name}-over-load",
                f"{title} against load",
                f"{title} {ends}: {shown}.",
                lines([one for one in series if one.x], x_label, f"{name.upper()}, ms", marks=marks),
                "Bands are 95 % intervals." if any(one.intervals for one in series) else "",
            )
        )
    return figures


def _of_samples(points: Sequence[Point], samples: Mapping[int, Sequence[Sample]], best: Point) -> list[Figure]:
    """Distributions at a few loads, and what was under way at the chosen one."""
    figures = []
    chosen = points.index(best)
    shown = _spread(sorted(samples, key=lambda number: points[number].load.size or 0), chosen)
    for name, title, values_of in (
        ("ttft", "How the time to first token is distributed", ttfts),
        ("itl", "How the time between tokens is distributed", itls),
    ):
        series = []
        for number in shown:
            if values := values_of(samples[number]):
                x, y = cumulative_curve([1000 * value for value in values])
                series.append(Series(str(points[number].load), x, y))
        if series:
            alt = f"Cumulative distribution of {name.upper()} at " + ", ".join(one.label for one in series) + "."
            figures.append(Figure(f"{name}-cdf", title, alt, cumulative(series, f"{name.upper()}, ms")))
    if under_way := samples.get(chosen):
        times, running = running_over_time(under_way)
        figures.append(
            Figure(
                "running",
                f"Requests under way, at {best.load}",
                f"At most {max(running):.0f} requests were under way at once, in {times[-1]:.0f} seconds.",
                lines([Series("running", times, running)], "seconds from the start", "requests under way", steps=True),
            )
        )
    return figures


def _errors(points: Sequence[Point]) -> list[Figure]:
    counts: dict[str, int] = {}
    for one in points:
        for kind, count in one.summary.errors.items():
            counts[kind] = counts.get(kind, 0) + count
    if not counts:
        return []
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    labels, values = [kind for kind, _ in ordered], [float(count) for _, count in ordered]
    alt = "Errors by kind: " + ", ".join(f"{kind} {count}" for kind, count in ordered) + "."
    paint = bars(labels, values, "requests", plain)
    return [Figure("errors", "Requests that failed, by kind", alt, paint, height=rows_height(len(labels)))]


def _order(point: Point) -> tuple[bool, float]:
    """Open loops before closed ones, the smallest first."""
    return point.load.rate is None, point.load.size or 0


def _table(points: Sequence[Point]) -> Table:
    rows = []
    for one in points:
        found = one.summary
        rows.append(
            (
                str(one.load) + (" (invalid)" if one.complaints else ""),
                plain(found.output_throughput),
                plain(found.request_throughput),
                plain(found.goodput),
                share(found.slo_attainment),
                *(
                    seconds(percentile(of, name))
                    for of in (found.ttft, found.tpot, found.e2e)
                    for name in ("p50", "p99")
                ),
                f"{found.failed:,}",
                seconds(percentile(found.lag, "p99")),
            )
        )
    columns = ["load", "output tokens/s", "requests/s", "goodput, 1/s", "within SLO"]
    columns += [f"{name} {at}" for name in ("TTFT", "TPOT", "E2E") for at in ("p50", "p99")]
    return Table("loads", "Every load", (*columns, "failed", "client's lag p99"), tuple(rows))


def _latency_table(best: Point) -> Table:
    """All percentiles at the chosen load."""
    found = best.summary
    rows = []
    measures: dict[str, Distribution | None] = {
        "TTFT": found.ttft,
        "TTFT from schedule": found.ttft_scheduled,
        "TPOT": found.tpot,
        "ITL": found.itl,
        "E2E": found.e2e,
        "client's lag": found.lag,
    }
    for name, of in measures.items():
        if of is not None:
            p50, p99 = with_interval(of.p50, of.p50_interval, seconds), with_interval(of.p99, of.p99_interval, seconds)
            rows.append((name, seconds(of.mean), p50, *map(seconds, (of.p90, of.p95)), p99, seconds(of.p999)))
    columns = ("latency", "mean", "p50 (95 % interval)", "p90", "p95", "p99 (95 % interval)", "p99.9")
    return Table("latencies", f"Latencies at {best.load}", columns, tuple(rows))


def _series(label: str, points: Sequence[Point], value_of: Callable[[Summary], float | None]) -> Series:
    known = [(one.load.size or 0.0, value) for one in points if (value := value_of(one.summary)) is not None]
    return Series(label, [x for x, _ in known], [y for _, y in known])


def _latency(points: Sequence[Point], name: str, at: str) -> Series:
    """A percentile in milliseconds, with its intervals."""
    x, y, intervals = [], [], []
    for one in points:
        of: Distribution | None = getattr(one.summary, name)
        if of is None or (value := percentile(of, at)) is None:
            continue
        interval: Interval | None = getattr(of, f"{at}_interval")
        x.append(one.load.size or 0.0)
        y.append(1000 * value)
        intervals.append(interval and (1000 * interval[0], 1000 * interval[1]))
    return Series(at, x, y, intervals if any(intervals) else ())


def _ends(series: Series, show: Callable[[float], str]) -> str:
    return f"{show(series.y[0])} to {show(series.y[-1])}" if series.y else "not known"


def _spread(numbers: Sequence[int], chosen: int) -> list[int]:
    """A few of the numbers: the ends, the chosen one, and what lies between."""
    if len(numbers) <= CURVES:
        return list(numbers)
    places = {round(place * (len(numbers) - 1) / (CURVES - 1)) for place in range(CURVES)}
    kept = [numbers[place] for place in sorted(places)]
    if chosen in numbers and chosen not in kept:
        kept[min(range(1, CURVES - 1), key=lambda place: abs(numbers.index(kept[place]) - numbers.index(chosen)))] = (
            chosen
        )
    return kept
