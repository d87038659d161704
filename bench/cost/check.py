"""Whether an answer is right, where its prompt's row says what that is."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any, Protocol

import jsonschema


class Check(Protocol):
    """Judges one prompt's answers."""

    def is_passed(self, text: str) -> bool: ...


class Expected:
    """A regular expression that must be found in the answer."""

    def __init__(self, pattern: str) -> None:
        """Raises re.error."""
        self._pattern = re.compile(pattern)

    def is_passed(self, text: str) -> bool:
        return self._pattern.search(text) is not None


class Schema:
    """A JSON Schema that the answer, as a whole, must be an instance of."""

    def __init__(self, schema: Any) -> None:
        """Raises jsonschema.SchemaError."""
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        kind.check_schema(schema)
        self._validator = kind(schema)

    def is_passed(self, text: str) -> bool:
        try:
            answer = json.loads(text)
        except ValueError:
            return False
        return bool(self._validator.is_valid(answer))


def read_checks(path: Path) -> list[Check | None]:
    """The check of each row of a file of prompts in JSON Lines: ``expect``, a regex, or ``schema``, a JSON Schema.

    None for rows without one. Raises ValueError with the line's number, and OSError.
    """
    found: list[Check | None] = []
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                found.append(_check(json.loads(line)))
            except (ValueError, re.error, jsonschema.SchemaError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
    return found


def _check(row: Any) -> Check | None:
    match row:
        case {"expect": _, "schema": _}:
            raise ValueError("expect and schema stand in one row; give one of both")
        case {"expect": str(pattern)}:
            return Expected(pattern)
        case {"expect": _}:
            raise ValueError("expect must be a regular expression, as text")
        case {"schema": schema}:
            return Schema(schema)
    return None
