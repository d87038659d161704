"""The manifests of a server's engines, as their capabilities tell them."""

from __future__ import annotations

from collections.abc import Mapping

from pennyweight.server.engines.base import Engine
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
        """That of an answer: all that its engine says of itself, or no more than the answer does where that is another by now."""
        known = self._known.get(started.fingerprint)
        if known is not None:
            return known
        name = started.model if started.route is None else started.route.model
        found = Manifest(fingerprint=started.fingerprint, model=name, parts={})
        try:
            capabilities = self._engines[name].capabilities()
        except (KeyError, PennyweightError):
            return found
        if capabilities.manifest is None or capabilities.fingerprint != started.fingerprint:
            return found
        if len(self._known) >= MOST_KEPT:
            del self._known[next(iter(self._known))]
        found = self._known[started.fingerprint] = capabilities.manifest
        return found
