"""``bench decode``: decode steps over the batch size, and the share of memory bandwidth that they reach."""

from __future__ import annotations

import msgspec

from pennyweight.bench.report.charts import Series, lines
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import plain, seconds, share
from pennyweight.bench.report.stored import StoredResult


class Device(msgspec.Struct, frozen=True):
    """What was measured on, its peak memory bandwidth in bytes/s, and who says so."""

    device: str
    peak: float | None = None
    source: str = ""


class Step(msgspec.Struct, frozen=True):
    """A batch size's decode step."""

    batch: int
    step_seconds: float
    tokens_per_second: float
    bytes_per_step: float
    rounds: tuple[float, ...] = ()
    mbu: float | None = None


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "decode"."""

    device: Device
    steps: tuple[Step, ...]
    parameters: int = 0


def tell(stored: StoredResult) -> Story:
    """The story of decode steps."""
    data = msgspec.convert(stored.result.data, Data)
    settings = stored.result.settings
    subject = f"{settings.get('shape', 'The model')} in {settings.get('dtype', 'its dtype')} on {data.device.device}"
    steps = sorted(data.steps, key=lambda one: one.batch)
    batches = [float(one.batch) for one in steps]
    first, last = steps[0], steps[-1]
    answers = [
        f"{subject}: {plain(first.tokens_per_second)} tokens/s at batch {first.batch}, "
        f"{plain(last.tokens_per_second)} at batch {last.batch}."
    ]
    best = max(steps, key=lambda one: one.mbu or 0)
    if best.mbu is not None:
        answers.append(
            f"Its steps reach {share(best.mbu)} of the memory bandwidth (MBU) at batch {best.batch}, the most of all."
        )
    per_step = lines(
        [Series("step", batches, [1000 * one.step_seconds for one in steps], [_spread(one) for one in steps])],
        "sequences in a batch",
        "step, ms",
    )
    speeds = [one.tokens_per_second for one in steps]
    figures = [
        Figure(
            "speed",
            "Tokens per second over the batch size",
            f"From {plain(speeds[0])} tokens/s at batch {first.batch} to {plain(speeds[-1])} at batch {last.batch}.",
            lines([Series("decode", batches, speeds)], "sequences in a batch", "tokens/s"),
        ),
        Figure(
            "step",
            "Time of a decode step over the batch size",
            f"From {seconds(first.step_seconds)} to {seconds(last.step_seconds)}.",
            per_step,
            "The band goes from the fastest to the slowest round.",
        ),
    ]
    if all(one.mbu is not None for one in steps):
        mbu = [100 * (one.mbu or 0) for one in steps]
        figures.append(
            Figure(
                "mbu",
                "Share of the memory bandwidth that is used (MBU)",
                f"From {plain(mbu[0])} % to {plain(mbu[-1])} %.",
                lines([Series("MBU", batches, mbu)], "sequences in a batch", "MBU, %", linear=True),
            )
        )
    rows = tuple(
        (
            str(one.batch),
            seconds(one.step_seconds),
            plain(one.tokens_per_second),
            plain(one.bytes_per_step / 1e9),
            share(one.mbu),
        )
        for one in steps
    )
    peak = f"{plain(data.device.peak / 1e9)} GB/s by {data.device.source}" if data.device.peak else "not known"
    columns = ("batch", "step", "tokens/s", "GB a step", "MBU")
    return Story(
        title="Decode steps",
        answers=tuple(answers),
        key_figures=tuple(
            KeyFigure(f"tokens/s at batch {one.batch}", one.tokens_per_second, plain, more_is_better=True)
            for one in steps
        ),
        figures=tuple(figures),
        tables=(Table("steps", "Every batch size", columns, rows, note=f"Peak memory bandwidth: {peak}."),),
    )


def _spread(step: Step) -> tuple[float, float] | None:
    """Of the rounds, in milliseconds."""
    return (1000 * min(step.rounds), 1000 * max(step.rounds)) if len(step.rounds) > 1 else None
