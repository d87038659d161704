"""Workloads from recorded traffic, and how rates change over a day."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np

from pennyweight.bench.load.trace import MOONCAKE_BLOCK, part, read_trace
from pennyweight.server.errors import ConfigError

from .workload import Workload


def trace_workload(file: Path, most: int) -> Workload:
    """The first ``most`` requests of a trace in a format that `bench serve --trace` takes. Raises ConfigError."""
    try:
        rows = part(read_trace(file), limit=most)
    except (OSError, EOFError, ValueError) as error:
        raise ConfigError(f"the trace can't be read: {error}") from None
    if len(rows) < 2 or rows[-1].at == 0:
        raise ConfigError(f"the trace {file} has {len(rows)} requests at one time; a rate takes 2 times")
    has_blocks = any(row.blocks for row in rows)
    return Workload(
        np.array([row.at for row in rows]),
        np.array([row.input_tokens for row in rows], dtype=np.int64),
        np.array([row.output_tokens for row in rows], dtype=np.int64),
        np.zeros(len(rows), dtype=np.int64),
        [row.blocks for row in rows] if has_blocks else None,
        MOONCAKE_BLOCK if has_blocks else 0,
    )


def read_relative_rates(file: Path) -> list[float]:
    """Request rates over a day or more, relative to the highest, from a CSV with a column ``req_rate``. Raises ConfigError."""
    try:
        with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as lines:
            rates = [float(row["req_rate"]) for row in csv.DictReader(lines)]
    except (OSError, EOFError) as error:
        raise ConfigError(f"the rates {file} can't be read: {error}") from None
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"the rates {file} must be a CSV with a column req_rate of numbers") from None
    if not rates or max(rates) <= 0 or min(rates) < 0:
        raise ConfigError(f"the rates {file} must have one above 0, and none below")
    return [rate / max(rates) for rate in rates]
