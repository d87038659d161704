"""The protocol of what keeps answers beside the memory: bytes by key, of which it understands nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class StoreFailed(Exception):
    """The store could not do it, and why. With ``is_lost`` what it held is gone, and it has begun anew."""

    def __init__(self, reason: str, *, is_lost: bool = False) -> None:
        super().__init__(reason)
        self.is_lost = is_lost


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed answer and by what it is found and purged: ``tenant`` is a hash, ``model`` and ``asked`` are a label's.

    ``expires`` is in Unix seconds.
    """

    key: bytes
    tenant: bytes
    model: str
    asked: str
    expires: float
    sealed: bytes

    @property
    def nbytes(self) -> int:
        return len(self.sealed)


class RowSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of which all holds that is not None. ``model`` is either of the two names."""

    key: bytes | None = None
    tenant: bytes | None = None
    model: str | None = None


class StoreStats(msgspec.Struct, frozen=True, kw_only=True):
    """``nbytes`` is what the store takes where that is, None where it doesn't tell."""

    answers: int
    nbytes: int | None


class Store(Protocol):
    """Keeps rows. Everything raises StoreFailed. A call that is given up may still come to its end, and be of no use."""

    async def get(self, key: bytes) -> bytes | None:
        """The sealed answer under a key."""
        ...

    async def put(self, rows: Sequence[Row]) -> None:
        """Keep rows, in the places of others under their keys."""
        ...

    async def delete(self, keys: Sequence[bytes]) -> None:
        """Forget what is under these keys, if anything is."""
        ...

    async def touch(self, keys: Sequence[bytes]) -> None:
        """What is under these keys was used, and should be the last to give way to others."""
        ...

    async def purge(self, selection: RowSelection) -> int:
        """Forget what is selected; returns how many rows that were."""
        ...

    async def stats(self) -> StoreStats:
        """What there is now."""
        ...

    async def aclose(self) -> None:
        """Let go of it. Raises nothing."""
        ...
