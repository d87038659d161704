"""A model's capabilities with one of its adapters."""

from __future__ import annotations

import dataclasses

from pennyweight.server.types import Determinism

from .base import Capabilities


def with_adapter(capabilities: Capabilities, digest: str) -> Capabilities:
    """Those of the model as far as its answers with an adapter of that digest have them: under another fingerprint, and perhaps not
    repeatable to the bit."""
    found = capabilities
    if found.adapter_variance and found.determinism is Determinism.BITWISE:
        found = dataclasses.replace(found, determinism=Determinism.SEEDED, variance=found.adapter_variance)
    if found.manifest is None:
        return dataclasses.replace(found, fingerprint=f"{found.fingerprint}-{digest[:16]}")
    manifest = found.manifest.extended(adapter=digest)
    return dataclasses.replace(found, fingerprint=manifest.fingerprint, manifest=manifest)
