"""The index of the embedding model that serves, and that of the one which is to follow it or went before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pennyweight.server.errors import PennyweightError

from .embedder import Embedder, EmbeddingModel
from .entries import Entry
from .index import Vector, VectorIndex

BATCH = 32
# Between two attempts at a backfill that failed.
RETRY_SECONDS = 5.0


@dataclass(slots=True)
class _Version:
    """An index with the model whose vectors are in it. ``missing`` are entries that have none there yet, by number."""

    model: EmbeddingModel
    index: VectorIndex
    missing: dict[int, Entry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found near a text: its vector by the version that served, and numbers of entries with cosines, nearest first."""

    version: str
    vector: Vector
    nearest: Sequence[tuple[int, float]]


class VersionedIndex:
    """Entries' vectors under the embedding model's versions, of which two are kept at most.

    When the model's name comes to mean another version (an alias was promoted), the entries are embedded by that in the background
    while the old version serves. Once none is missing, the new one serves from one request to the next; the old one stays as it is, so that
    on the way back only what came since is embedded. All methods belong to the event loop's thread.
    """

    def __init__(self, embedder: Embedder, new_index: Callable[[str], Awaitable[VectorIndex]]) -> None:
        self.embedder = embedder
        self._new_index = new_index
        self._serving: _Version | None = None
        self._other: _Version | None = None
        self._backfill: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self.flips = 0

    @property
    def serving(self) -> str | None:
        """The version that serves."""
        return None if self._serving is None else self._serving.model.version

    async def look(self, partition: bytes, text: str, count: int, entries: Iterable[Entry]) -> Looked | None:
        """What is near a text. None where it can't be embedded now, or not at all; ``entries`` are all there are, should another
        version need them."""
        await self._follow(entries)
        serving = self._serving
        if serving is None:
            return None
        vector = await self.embedder.embed(serving.model, text)
        if vector is None:
            return None
        return Looked(serving.model.version, vector, await serving.index.nearest(partition, vector, count))

    async def add(self, entry: Entry, looked: Looked) -> None:
        """Keep the vector that was found when the entry's question was looked up; other versions are to embed it."""
        for version in self._versions():
            if version.model.version == looked.version:
                await version.index.add(entry.partition, entry.number, looked.vector)
            else:
                version.missing[entry.number] = entry

    async def remove(self, entries: Iterable[Entry]) -> None:
        """Forget entries in all versions."""
        for entry in entries:
            for version in self._versions():
                if version.missing.pop(entry.number, None) is None:
                    await version.index.remove(entry.partition, entry.number)

    async def aclose(self) -> None:
        """End a backfill that is under way, and free the indexes."""
        if self._backfill is not None:
            self._backfill.cancel()
            await asyncio.wait((self._backfill,))
        for version in self._versions():
            await version.index.aclose()

    def _versions(self) -> list[_Version]:
        return [version for version in (self._serving, self._other) if version is not None]

    async def _follow(self, entries: Iterable[Entry]) -> None:
        """Begin what a change of the model's version asks for."""
        model = self.embedder.current()
        if model is None or (self._serving is not None and model.version == self._serving.model.version):
            return
        if self._opening.locked() or (self._backfill is not None and not self._backfill.done()):
            return
        async with self._opening:
            if self._serving is None:
                self._serving = _Version(model, await self._new_index(model.version))
                return
            if self._other is None or self._other.model.version != model.version:
                if self._other is not None:
                    await self._other.index.aclose()
                index = await self._new_index(model.version)
                self._other = _Version(model, index, {entry.number: entry for entry in entries})
            else:
                self._other.model = model
            self._backfill = asyncio.create_task(self._fill(self._other))

    async def _fill(self, version: _Version) -> None:
        while version.missing:
            if (now := self.embedder.current()) is None or now.version != version.model.version:
                return  # the name means another again
            batch = list(version.missing.values())[:BATCH]
            try:
                vectors = await self.embedder.embed_all(version.model, [entry.text for entry in batch])
            except PennyweightError:
                await asyncio.sleep(RETRY_SECONDS)
                return
            for entry, vector in zip(batch, vectors, strict=True):
                # It may have been removed while it was embedded.
                if version.missing.pop(entry.number, None) is not None and vector is not None:
                    await version.index.add(entry.partition, entry.number, vector)
        self._serving, self._other = version, self._serving
        self.flips += 1
