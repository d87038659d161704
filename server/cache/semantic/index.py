"""Where vectors lie, and which of them are nearest to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]

FIRST_ROWS = 16


class VectorIndex(Protocol):
    """Vectors of one embedding model by entry, in partitions that know nothing of each other. Vectors are of length 1."""

    async def add(self, partition: bytes, entry: int, vector: Vector) -> None:
        """Keep an entry's vector."""
        ...

    async def remove(self, partition: bytes, entry: int) -> None:
        """Forget an entry, if it is there."""
        ...

    async def nearest(self, partition: bytes, vector: Vector, count: int) -> list[tuple[int, float]]:
        """At most ``count`` entries of a partition with their cosines, nearest first, the older of two that are alike."""
        ...

    async def aclose(self) -> None:
        """Free what it holds."""
        ...


class MemoryIndex:
    """Exact search over rows of float32, one product of a matrix and a vector for each request.

    Exact because what is found must not depend on the order in which entries came and went, as it does with the graphs of approximate
    indexes, and deletions wear those out; a partition of ten thousand vectors of 384 numbers takes about a millisecond.
    """

    def __init__(self) -> None:
        self._partitions: dict[bytes, _Rows] = {}

    async def add(self, partition: bytes, entry: int, vector: Vector) -> None:
        self._partitions.setdefault(partition, _Rows(len(vector))).add(entry, vector)

    async def remove(self, partition: bytes, entry: int) -> None:
        rows = self._partitions.get(partition)
        if rows is not None:
            rows.remove(entry)
            if not len(rows):
                del self._partitions[partition]

    async def nearest(self, partition: bytes, vector: Vector, count: int) -> list[tuple[int, float]]:
        rows = self._partitions.get(partition)
        return [] if rows is None else rows.nearest(vector, count)

    async def aclose(self) -> None:
        self._partitions.clear()

    def __len__(self) -> int:
        return sum(map(len, self._partitions.values()))


class _Rows:
    """The vectors of a partition, without gaps: the last takes the place of one that goes."""

    def __init__(self, dimensions: int) -> None:
        self._vectors = np.zeros((FIRST_ROWS, dimensions), dtype=np.float32)
        self._entries: list[int] = []
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: int, vector: Vector) -> None:
        place = self._places.get(entry)
        if place is None:
            place = len(self._entries)
            if place == len(self._vectors):
                self._resize(2 * place)
            self._places[entry] = place
            self._entries.append(entry)
        self._vectors[place] = vector

    def remove(self, entry: int) -> None:
        place = self._places.pop(entry, None)
        if place is None:
            return
        last = self._entries.pop()
        if last != entry:
            self._entries[place] = last
            self._places[last] = place
            self._vectors[place] = self._vectors[len(self._entries)]
        if FIRST_ROWS < 4 * len(self._entries) < len(self._vectors):
            self._resize(len(self._vectors) // 2)

    def nearest(self, vector: Vector, count: int) -> list[tuple[int, float]]:
        cosines = self._vectors[: len(self._entries)] @ vector
        # All that are as near as the last that is wanted: which of them are taken is decided by their age.
        least = np.partition(cosines, -count)[-count] if len(cosines) > count else -np.inf
        found: Sequence[int] = np.flatnonzero(cosines >= least).tolist()
        ordered = sorted((-float(cosines[place]), self._entries[place]) for place in found)
        return [(entry, -cosine) for cosine, entry in ordered[:count]]

    def _resize(self, rows: int) -> None:
        vectors = np.zeros((rows, self._vectors.shape[1]), dtype=np.float32)
        vectors[: len(self._entries)] = self._vectors[: len(self._entries)]
        self._vectors = vectors
