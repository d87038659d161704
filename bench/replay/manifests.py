"""What differs between two manifests, by name."""

from __future__ import annotations

import msgspec

from pennyweight.server.engines.manifest import Manifest

FINGERPRINT = "fingerprint"


class Difference(msgspec.Struct, frozen=True):
    """A part of both manifests, None where one hasn't got it."""

    name: str
    one: str | None
    other: str | None


def differences(one: Manifest | None, other: Manifest | None, prints: tuple[str, str]) -> tuple[Difference, ...]:
    """Between the manifests of two fingerprints; where one of them isn't known, only that the fingerprints differ."""
    if prints[0] == prints[1]:
        return ()
    if one is None or other is None:
        return (Difference(FINGERPRINT, prints[0] or None, prints[1] or None),)
    names = sorted(one.parts.keys() | other.parts.keys())
    found = [Difference(name, one.parts.get(name), other.parts.get(name)) for name in names]
    return tuple(part for part in found if part.one != part.other) or (Difference(FINGERPRINT, *prints),)
