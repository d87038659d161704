"""Recorded traffic: when requests came, how long they and their answers were, and which prefixes they shared."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

# Tokens of a block of Mooncake's traces.
MOONCAKE_BLOCK = 512


class TraceRow(msgspec.Struct, frozen=True):
    """One request. ``at`` is in seconds; ``blocks`` are the ids of its prompt's prefix blocks, where the trace has them: the
    same id stands for the same tokens after the same tokens.
    """

    at: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()


def read_trace(path: Path) -> list[TraceRow]:
    """The rows of a trace, by time, the first one at its own ``at``. The format is told by the first row's names.

    Raises ValueError, with the line's number, and OSError.
    """
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        records = _json_records(lines) if ".json" in path.name else csv.DictReader(lines)
        rows: list[TraceRow] = []
        reader: Callable[[Mapping[str, object]], TraceRow] | None = None
        for number, record in enumerate(records, 1):
            if reader is None:
                reader = next((one for names, one in FORMATS.items() if set(names) <= set(record)), None)
                if reader is None:
                    known = "; ".join(", ".join(names) for names in FORMATS)
                    raise ValueError(f"{path} has columns {', '.join(map(str, record))}, and none of: {known}")
            try:
                rows.append(reader(record))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}, row {number}: {error!r} in {str(record)[:200]}") from None
    if not rows:
        raise ValueError(f"{path} has no requests")
    return sorted(rows, key=lambda row: row.at)


def part(
    rows: Sequence[TraceRow],
    *,
    skip: int = 0,
    limit: int | None = None,
    begin: float = 0.0,
    seconds: float | None = None,
) -> list[TraceRow]:
    """A contiguous part of a trace, its first request at 0: ``limit`` rows after ``skip`` ones, of those within ``seconds``
    after ``begin`` (from the trace's first request on). Raises ValueError where that is none.
    """
    end = float("inf") if seconds is None else begin + seconds
    chosen = [row for row in rows if begin <= row.at - rows[0].at < end][skip:][:limit]
    if not chosen:
        raise ValueError(
            f"the trace has {len(rows)} requests in {rows[-1].at - rows[0].at:.0f} s, and none in that part"
        )
    return [msgspec.structs.replace(row, at=row.at - chosen[0].at) for row in chosen]


def mean_rate(rows: Sequence[TraceRow]) -> float:
    """Requests per second; infinite where all came at once."""
    return len(rows) / rows[-1].at if rows[-1].at else float("inf")


def _json_records(lines: Iterable[str]) -> Iterator[dict[str, object]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is no JSON: {error}") from None
            if not isinstance(record, dict):
                raise ValueError(f"line {number} is no object")
            yield record


def _plain(row: Mapping[str, object]) -> TraceRow:
    return TraceRow(_number(row["arrival_s"]), *_lengths(row["input_tokens"], row["output_tokens"]))


def _azure(row: Mapping[str, object]) -> TraceRow:
    # Seven digits of a second's fraction, where datetime takes six.
    time = datetime.fromisoformat(str(row["TIMESTAMP"])[:26])
    return TraceRow(time.timestamp(), *_lengths(row["ContextTokens"], row["GeneratedTokens"]))


def _mooncake(row: Mapping[str, object]) -> TraceRow:
    return _blocks(row["timestamp"], row["input_length"], row["output_length"], row["hash_ids"])


def _mooncake_short(row: Mapping[str, object]) -> TraceRow:
    return _blocks(row["t"], row["i"], row["o"], row["h"])


def _blocks(milliseconds: object, input_tokens: object, output_tokens: object, blocks: object) -> TraceRow:
    if not isinstance(blocks, list):
        raise TypeError("no list of blocks")
    return TraceRow(_number(milliseconds) / 1000, *_lengths(input_tokens, output_tokens), tuple(map(int, blocks)))


def _lengths(input_tokens: object, output_tokens: object) -> tuple[int, int]:
    return max(1, int(_number(input_tokens))), max(1, int(_number(output_tokens)))


def _number(value: object) -> float:
    if not isinstance(value, int | float | str):
        raise TypeError(f"{value!r} is no number")
    return float(value)


# By the names that a row must have. A further format is a function from its row to a TraceRow, and its names here.
FORMATS: Mapping[tuple[str, ...], Callable[[Mapping[str, object]], TraceRow]] = {
    ("arrival_s", "input_tokens", "output_tokens"): _plain,
    ("TIMESTAMP", "ContextTokens", "GeneratedTokens"): _azure,
    ("timestamp", "input_length", "output_length", "hash_ids"): _mooncake,
    ("t", "i", "o", "h"): _mooncake_short,
}
