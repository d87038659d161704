"""``bench recording``: whether what was acknowledged as recorded is there after a kill and runs again to the bit, and what it takes."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pennyweight.bench.recording.account import Account
from pennyweight.bench.report.charts import bars, ratios, rows_height
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import binary_bytes, plain, share
from pennyweight.bench.report.stored import StoredResult


def tell(stored: StoredResult) -> Story:
    """The story of a recording whose server was killed."""
    data = msgspec.convert(stored.result.data, Account)
    kept, replayed = data.kept, data.replayed
    equal = replayed.acknowledged_bitwise / max(replayed.acknowledged, 1)
    figures = [
        KeyFigure("acknowledged and lost", kept.lost, plain, more_is_better=False),
        KeyFigure("acknowledged that ran again to the bit", equal, share, more_is_better=True),
        KeyFigure("bytes a record", kept.file_bytes / max(kept.records, 1), binary_bytes, more_is_better=False),
    ]
    if data.overhead is not None:
        taken = KeyFigure("recording takes of the throughput", data.overhead.throughput, share, more_is_better=False)
        figures.append(taken)
    return Story(
        title="Recorded, killed, and run again",
        answers=tuple(_sentences(data)),
        key_figures=tuple(figures),
        figures=tuple(_figures(data)),
        tables=tuple(_tables(data)),
    )


def _sentences(data: Account) -> Iterator[str]:
    kept, replayed = data.kept, data.replayed
    unrecorded = kept.unacknowledged / max(kept.answered, 1)
    yield (
        f"Of {kept.asked:,} requests {kept.answered:,} were answered, and {kept.broken:,} cut off when the server was killed; "
        f"{kept.acknowledged:,} answers said that they were recorded ({share(unrecorded)} that they were not)."
    )
    yield f"{kept.lost:,} of those acknowledged are in no file; a record takes {_size(data)}."
    yield (
        f"{replayed.acknowledged_bitwise:,} of {replayed.acknowledged:,} acknowledged records gave the same bits of all logits on "
        f"another server, whose engine counted {replayed.generations:,} generations."
    )
    if (lost := data.overhead) is not None:
        yield (
            f"Recording takes {share(lost.throughput)} of the throughput in the median of {len(data.rounds)} rounds "
            f"({share(lost.low)} to {share(lost.high)}), and adds {share(lost.cpu)} of CPU time."
        )


def _size(data: Account) -> str:
    return binary_bytes(data.kept.file_bytes / max(data.kept.records, 1))


def _figures(data: Account) -> Iterator[Figure]:
    kept, replayed = data.kept, data.replayed
    counts = {
        "asked": kept.asked,
        "answered": kept.answered,
        "acknowledged": kept.acknowledged,
        "acknowledged and in the files": kept.acknowledged - kept.lost,
        "acknowledged and the same bits": replayed.acknowledged_bitwise,
    }
    yield Figure(
        "kept",
        "What became of the requests",
        ", ".join(f"{name}: {count:,}" for name, count in counts.items()),
        bars(list(counts), [float(count) for count in counts.values()], "requests", plain),
        height=rows_height(len(counts)),
    )
    if data.rounds and data.overhead is not None:
        lost = data.overhead
        yield Figure(
            "overhead",
            "Throughput with recording",
            f"With recording {1 - lost.throughput:.3f} times the throughput without, from {1 - lost.high:.3f} to {1 - lost.low:.3f}.",
            ratios(["throughput"], [1 - lost.throughput], [(1 - lost.high, 1 - lost.low)], "recording / not (log)"),
            "Median of the rounds' ratios; the line from the least to the most.",
            height=rows_height(1) + 0.2,
        )


def _tables(data: Account) -> Iterator[Table]:
    kept, replayed = data.kept, data.replayed
    rows = {
        "requests": kept.asked,
        "answered": kept.answered,
        "cut off by the server's end": kept.broken,
        "acknowledged": kept.acknowledged,
        "acknowledged and lost": kept.lost,
        "records": kept.records,
        "files that end within a line": kept.torn,
        "replayed": replayed.requests,
        "bitwise equal": replayed.bitwise,
        **{f"not equal: {name}": count for name, count in replayed.others.items()},
    }
    yield Table("records", "Records", ("", "number"), tuple((name, f"{count:,}") for name, count in rows.items()))
    if data.rounds:
        rounds = tuple(
            (
                str(number),
                plain(one.tokens_per_second),
                plain(one.recording_tokens_per_second),
                share(1 - one.recording_tokens_per_second / one.tokens_per_second),
                share(one.recording_cpu / one.cpu - 1),
            )
            for number, one in enumerate(data.rounds, 1)
        )
        columns = ("round", "tokens/s", "tokens/s recording", "taken", "CPU time added")
        yield Table("rounds", "What recording takes", columns, rounds)
