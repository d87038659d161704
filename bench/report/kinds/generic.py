"""Results of a kind, or of a form, that the report has no file for: their data as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pennyweight.bench.report.document import Story, Table
from pennyweight.bench.report.quantities import NONE, plain
from pennyweight.bench.report.stored import StoredResult

# More rows than that nobody reads: the raw data has them.
ROWS = 50


def tell(stored: StoredResult) -> Story:
    """Numbers and words in one table, and each list of records in its own."""
    data = stored.result.data
    flat = tuple((name, written(value)) for name, value in flatten(data) if not _is_records(value))
    records = [records_table(name, value) for name, value in flatten(data) if _is_records(value)]
    facts = [Table("facts", "Figures", ("figure", "value"), flat)] if flat else []
    return Story(title=f"bench {stored.result.kind}", tables=(*facts, *records))


def flatten(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The leaves of nested mappings, by dotted names."""
    found: list[tuple[str, Any]] = []
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            found += flatten(inner, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", inner))
    return found


def records_table(name: str, records: Sequence[Mapping[str, Any]]) -> Table:
    """A list of mappings as a table with a column for every name in them."""
    flat = [dict(flatten(record)) for record in records]
    columns = tuple(dict.fromkeys(column for record in flat for column in record))
    rows = tuple(tuple(written(record.get(column)) for column in columns) for record in flat[:ROWS])
    left_out = len(flat) - len(rows)
    note = f"{left_out:,} more are in the raw data." if left_out else ""
    return Table(name.replace(".", "-"), name.replace("_", " "), columns, rows, note=note)


def written(value: Any) -> str:
    """A value as a cell."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return plain(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {written(inner)}" for name, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        shown = ", ".join(written(inner) for inner in value[:ROWS])
        return f"{shown}, …" if len(value) > ROWS else shown
    return str(value)


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)
