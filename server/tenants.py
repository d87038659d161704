"""Whose a request is: named tenants, each with API keys, and keys of no named tenant, each of which is one of its own."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .config import Settings, TenantSettings

# What the settings write before a digest.
DIGEST_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """``id`` is what a Request carries: a name, ``key:`` with a digest of the key's digest, or empty on a server that asks for no keys.

    ``tiers`` are those that it may ask for, None for all. Who isn't named has been given the models that there are, those that
    leave too: its data may go there when it names them, and ``data_may_leave`` is about those that the router chooses.
    """

    id: str = ""
    data_may_leave: bool = False
    tiers: frozenset[str] | None = None
    is_named: bool = False

    @property
    def may_name_models_that_leave(self) -> bool:
        """Whether it may ask for a model by name that sends its requests to somebody else."""
        return self.data_may_leave or not self.is_named


class Tenants:
    """All that have keys, found by key. Keys are kept as SHA-256 digests; those of the settings' tenants never were anything else."""

    def __init__(
        self, api_keys: Iterable[str], named: Mapping[str, TenantSettings], *, data_may_leave: bool = False
    ) -> None:
        """``data_may_leave`` is for requests of no named tenant."""
        self._by_digest: list[tuple[bytes, Tenant]] = []
        self._unnamed = Tenant(data_may_leave=data_may_leave)
        self._named = {
            name: Tenant(
                id=name,
                data_may_leave=one.data_may_leave,
                tiers=None if one.tiers is None else frozenset(one.tiers),
                is_named=True,
            )
            for name, one in named.items()
        }
        for name, one in named.items():
            for written in one.api_keys:
                self._by_digest.append((bytes.fromhex(written.removeprefix(DIGEST_PREFIX)), self._named[name]))
        for key in api_keys:
            digest = key_digest(key.encode())
            tenant = Tenant(id=f"key:{hashlib.sha256(digest).hexdigest()[:32]}", data_may_leave=data_may_leave)
            self._by_digest.append((digest, tenant))

    @classmethod
    def of(cls, settings: Settings) -> Tenants:
        """Those of a server's settings."""
        return cls(settings.http.api_keys, settings.tenants, data_may_leave=settings.router.data_may_leave)

    def __bool__(self) -> bool:
        """Whether keys are asked for at all."""
        return bool(self._by_digest)

    def with_key(self, key: bytes) -> Tenant | None:
        """Whose key it is. Compares with all digests, so that the time taken tells nothing of a key."""
        digest, found = key_digest(key), None
        for known, tenant in self._by_digest:
            if hmac.compare_digest(digest, known):
                found = found or tenant
        return found

    def __getitem__(self, id: str) -> Tenant:
        """By what a Request carries. Raises nothing: whoever isn't named has what all those have."""
        return self._named.get(id, self._unnamed)


def key_digest(key: bytes) -> bytes:
    """What is kept of a key: 32 bytes. Keys are random, so that they need no slow hash as passwords do."""
    return hashlib.sha256(key).digest()
