"""The texts nearest to each request among all that came before it: found once, for all ways of deciding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .pairs import Asked, Stream

Vectors = npt.NDArray[np.float32]
# So many are kept for each request. Few texts are left out of a cache because they were hits, so that the nearest present are among them.
NEAREST = 32
ROWS = 256


class Neighbours:
    """For each request the numbers of the nearest texts and their cosines, nearest first; ties go to the earlier text."""

    def __init__(self, stream: Stream, vectors: Vectors, on_progress: Callable[[int], None]) -> None:
        """``vectors`` [texts, dimensions] are of length 1."""
        self._numbers = np.full((len(stream.requests), NEAREST), -1, dtype=np.int32)
        self._cosines = np.zeros((len(stream.requests), NEAREST), dtype=np.float32)
        for first in range(0, len(stream.requests), ROWS):
            rows = stream.requests[first : first + ROWS]
            self._fill(first, rows, vectors)
            on_progress(first + len(rows))

    def of(self, place: int) -> list[tuple[int, float]]:
        """Texts and cosines for the request at ``place``."""
        found = zip(self._numbers[place].tolist(), self._cosines[place].tolist(), strict=True)
        return [(number, cosine) for number, cosine in found if number >= 0]

    def _fill(self, first: int, rows: Sequence[Asked], vectors: Vectors) -> None:
        cosines = vectors[[one.text for one in rows]] @ vectors[: rows[-1].before].T
        for offset, one in enumerate(rows):
            row = cosines[offset, : one.before]
            count = min(NEAREST, len(row))
            nearest = np.argpartition(-row, count - 1)[:count]
            ordered = nearest[np.lexsort((nearest, -row[nearest]))]
            self._numbers[first + offset, :count] = ordered
            self._cosines[first + offset, :count] = row[ordered]
