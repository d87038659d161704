"""``bench determinism``: whether the same request had the same bits, however it was served, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import msgspec

from pennyweight.bench.determinism.account import Costs, Row, Whole
from pennyweight.bench.determinism.cost import Speed
from pennyweight.bench.determinism.variant import Variant
from pennyweight.bench.report.charts import bars, rows_height
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import NONE, plain, share
from pennyweight.bench.report.stored import StoredResult

BITWISE = "bitwise"
KERNELS = {"own": "own kernels", "torch": "PyTorch's kernels"}


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "determinism"."""

    rows: list[Row]
    wholes: list[Whole]
    costs: list[Costs]


def tell(stored: StoredResult) -> Story:
    """The story of one prompt, asked over and over."""
    data = msgspec.convert(stored.result.data, Data)
    held = [one for one in data.wholes if one.mode == BITWISE]
    figures: list[KeyFigure] = []
    if held:
        most = max(one.found.unique_logits for one in held)
        figures.append(KeyFigure("different logits in bitwise", most, plain, more_is_better=False))
    if data.costs:
        dearest = max(one.cost.together for one in data.costs)
        figures.append(KeyFigure("bitwise loses of the throughput", dearest, share, more_is_better=False))
    return Story(
        title="The same bits every time",
        answers=(*map(_said, data.wholes), *map(_priced, data.costs)),
        key_figures=tuple(figures),
        figures=tuple(_figures(data)),
        tables=tuple(_tables(data)),
    )


def _said(whole: Whole) -> str:
    found = whole.found
    begin = f"{_name(whole)}: {found.completions:,} completions of one prompt among other work gave"
    if found.unique_logits == 1:
        return f"{begin} one answer, and the same bits of all logits."
    parted = found.first_divergent_logits
    where = "" if parted is None else f", the first of them from token {parted} on"
    return f"{begin} {found.unique_answers:,} different answers and {found.unique_logits:,} chains of logits{where}."


def _priced(costs: Costs) -> str:
    cost = costs.cost
    return (
        f"{_precision(costs)}: bitwise loses {share(max(0.0, cost.alone))} of the fastest way's speed with one stream "
        f"({cost.fastest_alone}) and {share(max(0.0, cost.together))} with {costs.streams} ({cost.fastest_together}), "
        "in the median of the rounds."
    )


def _precision(one: Variant | Whole | Costs) -> str:
    """A checkpoint that is served as it is has the precision that its name tells."""
    return one.dtype if one.dtype != "auto" else Path(one.model).name


def _name(whole: Whole) -> str:
    return f"{_precision(whole)}, {KERNELS.get(whole.kernels, whole.kernels)}, {whole.mode}"


def _figures(data: Data) -> Iterator[Figure]:
    if data.wholes:
        labels = [_name(one) for one in data.wholes]
        counts = [float(one.found.unique_logits) for one in data.wholes]
        yield Figure(
            "unique",
            "Different chains of logits",
            ", ".join(f"{label}: {count:.0f}" for label, count in zip(labels, counts, strict=True)),
            bars(labels, counts, "different chains of logits", plain),
            "One means that every logit was the same to the bit.",
            rows_height(len(labels)),
        )
    for costs in data.costs:
        for name, title in (("alone", "one stream"), ("together", f"{costs.streams} streams")):
            yield _speeds(_precision(costs), name, title, [one for one in costs.speeds if getattr(one, name)])


def _speeds(dtype: str, name: str, title: str, speeds: Sequence[Speed]) -> Figure:
    labels = [one.way.label for one in speeds]
    rounds: list[list[float]] = [getattr(one, name) for one in speeds]
    middles = [median(one) for one in rounds]
    return Figure(
        f"speed-{dtype}-{name}",
        f"Speed of {dtype} with {title}",
        ", ".join(f"{label}: {plain(value)} tokens/s" for label, value in zip(labels, middles, strict=True)),
        bars(labels, middles, "tokens/s", plain, intervals=[(min(one), max(one)) for one in rounds]),
        "Medians of rounds in turns; lines from the least to the most.",
        rows_height(len(labels)),
    )


def _tables(data: Data) -> Iterator[Table]:
    if data.rows:
        columns = ("served with", "precision", "kernels, mode", "completions", "answers", "logits", "preemptions")
        yield Table("ways", "Each way of serving it", columns, tuple(map(_row, data.rows)), text_columns=3)
    if data.costs:
        names = ("way", "precision", "tokens/s alone", "tokens/s together")
        speeds = tuple(
            (speed.way.label, _precision(one), *(_middle(getattr(speed, name)) for name in ("alone", "together")))
            for one in data.costs
            for speed in one.speeds
        )
        note = f"{NONE}: too slow while it warmed up to be measured further."
        yield Table("speeds", "What the mode costs", names, speeds, text_columns=2, note=note)


def _row(row: Row) -> tuple[str, ...]:
    counts = (row.found.completions, row.found.unique_answers, row.found.unique_logits, row.preemptions)
    variant = row.variant
    return variant.label, _precision(variant), f"{variant.kernels}, {row.mode}", *(f"{count:,}" for count in counts)


def _middle(rounds: Sequence[float]) -> str:
    return plain(median(rounds)) if rounds else NONE
