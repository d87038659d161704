"""Keeps weights that failed their quality gate from being served by mistake."""

from __future__ import annotations

from pathlib import Path

from pennyweight.quantize.manifest import FILE, ManifestError, failed_reasons, read_manifest
from pennyweight.server.config import EngineSettings
from pennyweight.server.errors import ModelError


def check_gate(path: Path, settings: EngineSettings) -> None:
    """Raise ModelError for a model whose manifest says that it failed its gate, unless the settings allow that.

    A manifest that can't be read is treated like one that says so: nobody knows what it would have said.
    """
    if settings.allow_failed_gate:
        return
    allow = "to serve it all the same, set engine.allow_failed_gate (--allow-failed-gate)"
    try:
        reasons = failed_reasons(read_manifest(path))
    except ManifestError as error:
        raise ModelError(f"{error}; {allow}") from error
    if reasons is not None:
        why = "; ".join(reasons) or "no reason is given"
        raise ModelError(f"{path} failed its quality gate ({FILE}): {why}. Quantise it anew, or {allow}")
