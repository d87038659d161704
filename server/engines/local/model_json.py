"""The JSON files of a model's directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pennyweight.server.errors import ModelError


def read_json_object(file: Path) -> dict[str, Any]:
    """What a file says. Raises ModelError where it can't be read or is no JSON object."""
    try:
        read = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} can't be read: {error}") from error
    if not isinstance(read, dict):
        raise ModelError(f"{file} is no JSON object")
    return read


def read_json_if_there(file: Path) -> dict[str, Any]:
    """As ``read_json_object``; empty where there is no such file."""
    return read_json_object(file) if file.is_file() else {}
