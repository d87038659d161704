"""The manifests of a server's engines, as their capabilities tell them."""

from __future__ import annotations

from collections.abc import Mapping

from pennyweight.server.engines.base import Capabilities, Engine
from pennyweight.server.engines.manifest import Manifest
from pennyweight.server.errors import PennyweightError
from pennyweight.server.types import Started

# Upstreams may give each answer another fingerprint.
MOST_KEPT = 256


class Manifests:
    """By fingerprint. ``engines`` are by each name that a client may use."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines
        self._known: dict[str, Manifest] = {}

    def of(self, started: Started) -> Manifest:
        """That of an answer. Where its engine's fingerprint is another (of an adapter, or a model that has changed by now) it has that too, as
        ``engine_fingerprint``: what it says is then of this."""
        known = self._known.get(started.fingerprint)
        if known is not None:
            return known
        name = started.model if started.route is None else started.route.model
        try:
            capabilities = self._engines[name].capabilities()
        except (KeyError, PennyweightError):
            return Manifest(fingerprint=started.fingerprint, model=name, parts={})
        found = manifest_of(capabilities)
        if capabilities.fingerprint != started.fingerprint:
            parts = {**found.parts, "engine_fingerprint": capabilities.fingerprint}
            return Manifest(fingerprint=started.fingerprint, model=found.model, parts=parts)
        if len(self._known) >= MOST_KEPT:
            del self._known[next(iter(self._known))]
        self._known[started.fingerprint] = found
        return found


def manifest_of(capabilities: Capabilities) -> Manifest:
    """What an engine says of itself."""
    if capabilities.manifest is not None:
        return capabilities.manifest
    parts = {"engine": capabilities.engine, **capabilities.details}
    return Manifest(fingerprint=capabilities.fingerprint, model=capabilities.model, parts=parts)
