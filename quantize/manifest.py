"""What is known of a directory of quantised weights, in one file beside them: how they were made, and how good they are.

A JSON object with what provenance.py puts there (recipe, versions, hashes of source and result) and ``scores`` from the quality gate.
Imports nothing that computes: the server reads it before it starts an engine.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "pennyweight-quantization.json"
SCORES = "scores"
PASSED, FAILED = "passed", "failed"


class ManifestError(ValueError):
    """A manifest that is no JSON object, or can't be read."""


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest in a model's directory; an empty one where there is none. Raises ManifestError."""
    file = directory / FILE
    try:
        found = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ManifestError(f"{file} can't be read: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get(SCORES, {}), dict):
        raise ManifestError(f"{file} is no manifest: a JSON object, with an object as {SCORES} if any")
    return found


def write_manifest(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest, whole or not at all. Raises OSError."""
    written = directory / f"{FILE}.new"
    written.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(written, directory / FILE)


def record_scores(directory: Path, scores: Mapping[str, Any]) -> None:
    """Put scores, with their ``verdict``, into the manifest in place of earlier ones. Raises ManifestError and OSError."""
    write_manifest(directory, read_manifest(directory) | {SCORES: scores})


def failed_reasons(manifest: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Why the weights failed their quality gate; None for those that passed or were never judged."""
    scores = manifest.get(SCORES, {})
    return tuple(map(str, scores.get("reasons", ()))) if scores.get("verdict") == FAILED else None


def manifest_digest(directory: Path) -> str | None:
    """A hexadecimal digest of the manifest's bytes; None where there is none."""
    try:
        return hashlib.sha256((directory / FILE).read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
