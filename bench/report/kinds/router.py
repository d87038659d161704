"""``router eval``: how much of the strong model's quality a learned router keeps at which share of its answers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pennyweight.bench.report.charts import Series, lines
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import plain, share
from pennyweight.bench.report.stored import StoredResult

LEARNED = "learned"


class Estimate(msgspec.Struct, frozen=True):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


class Scored(msgspec.Struct, frozen=True):
    """One router on one kind of task."""

    figures: Mapping[str, Estimate]
    beyond_length: Estimate
    recovered: tuple[float, ...]


class OfKind(msgspec.Struct, frozen=True):
    """A kind of task."""

    rows: int
    weak: float
    strong: float
    routers: Mapping[str, Scored]


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "router"."""

    how: str
    kinds: Mapping[str, OfKind]


def tell(stored: StoredResult) -> Story:
    """The story of a learned router beside its baselines."""
    data = msgspec.convert(stored.result.data, Data)
    return Story(
        title="A learned router",
        answers=(f"{data.how}.", *(_sentence(kind, found) for kind, found in data.kinds.items())),
        key_figures=tuple(_key_figure(kind, found) for kind, found in data.kinds.items()),
        figures=tuple(_figure(kind, found) for kind, found in data.kinds.items()),
        tables=tuple(_table(kind, found) for kind, found in data.kinds.items()),
    )


def _sentence(kind: str, found: OfKind) -> str:
    learned = found.routers[LEARNED]
    beyond = learned.beyond_length
    shows = "beyond" if beyond.low > 0 else "not distinguishable from"
    return (
        f"On {kind} ({found.rows:,} prompts; weak right in {share(found.weak)}, strong in {share(found.strong)}) APGR is "
        f"{plain(learned.figures['apgr'].value)}, {shows} that of length by {_signed(beyond)}; 95 % of the strong model's quality "
        f"takes {share(learned.figures['share_for_95_percent'].value)} of its answers."
    )


def _key_figure(kind: str, found: OfKind) -> KeyFigure:
    return KeyFigure(f"APGR, {kind}", found.routers[LEARNED].figures["apgr"].value, plain, more_is_better=True)


def _figure(kind: str, found: OfKind) -> Figure:
    series = [
        Series(name, [100 * place / (len(one.recovered) - 1) for place in range(len(one.recovered))], one.recovered)
        for name, one in found.routers.items()
    ]
    alt = ", ".join(f"{name} {plain(one.figures['apgr'].value)}" for name, one in found.routers.items())
    return Figure(
        f"pgr-{kind.replace(' ', '-')}",
        f"Gap between the models that is closed, {kind}",
        f"The mean over all shares (APGR): {alt}.",
        lines(series, "answers of the strong model, %", "PGR", linear=True, markers=False),
        "Beyond 1 where the weak model is right and the strong one wrong. Equal scores are averaged over their orders.",
        height=3.6,
    )


def _table(kind: str, found: OfKind) -> Table:
    rows = []
    for name, one in found.routers.items():
        apgr, least, half, most, aiq = (
            one.figures[figure] for figure in ("apgr", "share_for_95_percent", "cpt_50", "cpt_80", "aiq")
        )
        cells = (_number(apgr), _signed(one.beyond_length), *map(_share, (least, half, most)), _number(aiq))
        rows.append((name, *cells))
    columns = ("router", "APGR", "beyond length", "share for 95 %", "CPT(50)", "CPT(80)", "AIQ")
    return Table(
        f"router-{kind.replace(' ', '-')}",
        f"Routers on {kind}",
        columns,
        tuple(rows),
        note="In brackets: 95 % intervals.",
    )


def _number(one: Estimate) -> str:
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


def _signed(one: Estimate) -> str:
    return f"{one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f})"


def _share(one: Estimate) -> str:
    return f"{share(one.value)} ({share(one.low)} to {share(one.high)})"
