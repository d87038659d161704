"""Workloads from trace files: Azure's CSV and Mooncake's JSONL, plain or gzipped."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pennyweight.server.errors import ConfigError

from .workload import Workload

# The names that a column has in the traces as they are published, and in copies of them with relative times.
ARRIVALS = ("arrival_s", "TIMESTAMP", "t", "timestamp")
INPUTS = ("input_tokens", "ContextTokens", "i", "input_length")
OUTPUTS = ("output_tokens", "GeneratedTokens", "o", "output_length")
BLOCKS = ("h", "hash_ids")
MOONCAKE_BLOCK_TOKENS = 512


class _Row(NamedTuple):
    at: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()


def read_trace(file: Path, most: int | None = None) -> Workload:
    """The requests of a trace, at most the first ``most``. CSV times are seconds or dates, JSONL ones milliseconds.

    Raises ConfigError with the line that is wrong.
    """
    rows: list[_Row] = []
    try:
        with _opened(file) as lines:
            for row in _rows(file, lines):
                rows.append(row)
                if len(rows) == most:
                    break
    except (OSError, EOFError) as error:
        raise ConfigError(f"the trace {file} can't be read: {error}") from None
    if len(rows) < 2:
        raise ConfigError(f"the trace {file} has {len(rows)} requests; a rate takes 2")
    rows.sort(key=lambda row: row.at)
    has_blocks = any(row.blocks for row in rows)
    return Workload(
        np.array([row.at for row in rows]) - rows[0].at,
        np.array([row.input_tokens for row in rows], dtype=np.int64),
        np.array([row.output_tokens for row in rows], dtype=np.int64),
        np.zeros(len(rows), dtype=np.int64),
        [row.blocks for row in rows] if has_blocks else None,
        MOONCAKE_BLOCK_TOKENS if has_blocks else 0,
    )


def read_relative_rates(file: Path) -> list[float]:
    """The request rates over a day or more, relative to the highest, from a CSV with a column ``req_rate``. Raises ConfigError."""
    try:
        with _opened(file) as lines:
            rates = [float(row["req_rate"]) for row in csv.DictReader(lines)]
    except (OSError, EOFError) as error:
        raise ConfigError(f"the rates {file} can't be read: {error}") from None
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"the rates {file} must be a CSV with a column req_rate of numbers") from None
    if not rates or max(rates) <= 0 or min(rates) < 0:
        raise ConfigError(f"the rates {file} must have one above 0, and none below")
    return [rate / max(rates) for rate in rates]


def _opened(file: Path) -> Any:
    return gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8")


def _rows(file: Path, lines: Iterable[str]) -> Iterator[_Row]:
    is_csv = ".csv" in file.suffixes
    records = enumerate(csv.DictReader(lines), start=2) if is_csv else enumerate(map(_object, lines), start=1)
    for number, record in records:
        try:
            at = _seconds(_first(record, ARRIVALS)) if is_csv else float(_first(record, ARRIVALS)) / 1000
            lengths = int(_first(record, INPUTS)), int(_first(record, OUTPUTS))
            blocks = () if is_csv else tuple(next((record[name] for name in BLOCKS if name in record), ()))
        except (TypeError, ValueError):
            raise ConfigError(
                f"{file}, line {number}: no arrival, input and output tokens, under any of their names "
                f"({', '.join(ARRIVALS)}; {', '.join(INPUTS)}; {', '.join(OUTPUTS)})"
            ) from None
        if min(lengths) > 0:  # some of Azure's ended before their first token
            yield _Row(at, *lengths, blocks)


def _object(line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _first(record: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((record[name] for name in names if record.get(name) is not None), None)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        # Seven digits of a second, as Azure writes them, are one too many for datetime64[us].
        return float(np.datetime64(text.strip().replace(" ", "T"), "ns").astype(np.int64)) / 1e9
