"""``bench validate-plan``: how far the planner's predictions were from what was measured."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pennyweight.bench.report.charts import bars, rows_height
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import plain, seconds, share
from pennyweight.bench.report.stored import StoredResult

NAMES = {
    "throughput": "output tokens/s",
    "ttft_p50": "TTFT p50",
    "ttft_p99": "TTFT p99",
    "tpot_p50": "TPOT p50",
    "ttft_p90": "TTFT p90",
    "tpot_p90": "TPOT p90",
}


class Prediction(msgspec.Struct, frozen=True):
    """A load: measured and predicted by metric (tokens/s, seconds), and the relative error; ``fitted`` ones don't count."""

    load: str
    fitted: bool
    measured: Mapping[str, float]
    predicted: Mapping[str, float]
    errors: Mapping[str, float]


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "validate-plan". ``errors`` are medians over the loads that were not fitted."""

    predictions: tuple[Prediction, ...]
    errors: Mapping[str, float]


def tell(stored: StoredResult) -> Story:
    """The story of the planner's error."""
    data = msgspec.convert(stored.result.data, Data)
    names = [name for name in dict.fromkeys((*NAMES, *data.errors)) if name in data.errors]
    judged = sum(not one.fitted for one in data.predictions)
    shown = ", ".join(f"{NAMES.get(name, name)} {share(data.errors[name])}" for name in names)
    labels, values = [NAMES.get(name, name) for name in names], [100 * data.errors[name] for name in names]
    figure = Figure(
        "errors",
        "How far predictions were off",
        f"Median errors: {shown}.",
        bars(labels, values, "median error, %", plain),
        f"Over {judged} loads that the model was not fitted to.",
        rows_height(len(labels)),
    )
    return Story(
        title="The planner's error",
        answers=(
            f"Fitted to {len(data.predictions) - judged} loads, the planner missed the other {judged} by, in the median: {shown}.",
        ),
        key_figures=tuple(
            KeyFigure(f"error of {NAMES.get(name, name)}", data.errors[name], share, more_is_better=False)
            for name in names
        ),
        figures=(figure,),
        tables=(_table(data, names),),
    )


def _table(data: Data, names: list[str]) -> Table:
    columns = ["load", "used"]
    for name in names:
        columns += [f"{NAMES.get(name, name)} measured", "predicted", "error"]
    rows = []
    for one in data.predictions:
        cells = [one.load, "to fit" if one.fitted else "to judge"]
        for name in names:
            show = plain if name == "throughput" else seconds
            error = one.errors.get(name)
            cells += [
                show(one.measured.get(name)),
                show(one.predicted.get(name)),
                "–" if error is None else f"{error:+.1%}",
            ]
        rows.append(tuple(cells))
    return Table("loads", "Every load", tuple(columns), tuple(rows), text_columns=2)
