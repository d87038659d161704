"""What an engine's answers depend on beside the request, told by name, and the fingerprint that stands for all of it."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable, Mapping

import msgspec


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The ``parts`` by name, as texts: digests of weights, tokenizer and template, precisions, kernels, versions, device.

    ``fingerprint`` is a digest of the parts alone, which answers carry as ``system_fingerprint``: engines with the same one give the same
    bits, where they are invariant at all. ``model`` is the name that the model has here, and no part of that.
    """

    fingerprint: str
    model: str
    parts: Mapping[str, str]

    def extended(self, **more: str) -> Manifest:
        """The manifest of the same with more parts, or other ones in their place."""
        return manifest_of(self.model, {**self.parts, **more})


def manifest_of(model: str, parts: Mapping[str, str]) -> Manifest:
    """The manifest of these parts: its fingerprint is ``fp_`` and the first 16 digits of the SHA-256 of their JSON, sorted by name."""
    digest = hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()
    return Manifest(fingerprint=f"fp_{digest[:16]}", model=model, parts=dict(parts))


def versions(packages: Iterable[str]) -> Mapping[str, str]:
    """The versions of packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
