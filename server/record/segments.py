"""The files of a recording in their directory: begun one after the other, and the oldest deleted."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pennyweight.server.engines.manifest import Manifest

from .segment import Segment
from .segment_name import PLAIN, SEALED, began_at, segment_name, segments_in

# Of the age that a record may reach a file spans this part at the most, so that the others in it don't go much too early.
AGE_PARTS = 8
# Seconds between two looks whether a file has become too old, at the most.
TIDY_SECONDS = 60.0


class Segments:
    """All belongs to one thread. ``max_file_bytes`` is what a file holds, ``max_bytes`` what all in the directory take, also those of earlier
    servers; a file is deleted before its first record is older than ``max_age`` seconds.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_file_bytes: int,
        max_bytes: int,
        max_age: float | None = None,
        master: bytes | None = None,
        sync: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._max_file_bytes = max_file_bytes
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._master = master
        self._sync = sync
        self._clock = clock
        self._current: Segment | None = None
        self._number = 0
        self._tidied = clock()

    @property
    def tidy_seconds(self) -> float | None:
        """How often ``tidy`` wants to be called; None where nothing becomes too old."""
        return None if self._max_age is None else min(TIDY_SECONDS, self._max_age / AGE_PARTS)

    def write(self, lines: Sequence[bytes], manifests: Sequence[Manifest]) -> int:
        """Write lines and, where they are not there yet, the manifests that they name; returns the bytes that this took.

        Raises OSError; nothing of it is then to be found, and the next call begins a new file.
        """
        if self._current is None or self._is_over(self._current, lines, manifests):
            self._begin()
        assert self._current is not None
        try:
            return self._current.append(lines, manifests, sync=self._sync)
        except OSError:
            current, self._current = self._current, None
            with contextlib.suppress(OSError):
                current.close()
                if not current.size:
                    current.path.unlink()
            raise

    def tidy(self) -> None:
        """Delete what is too old. Does nothing, but for its looking, where that was done a short while ago."""
        seconds, now = self.tidy_seconds, self._clock()
        if seconds is not None and now - self._tidied >= seconds:
            if self._current is not None and self._spans_enough(self._current):
                self.close()
            with contextlib.suppress(OSError):
                self._delete(self._max_bytes)

    def close(self) -> None:
        """End the current file; another write begins a new one."""
        if self._current is not None:
            current, self._current = self._current, None
            with contextlib.suppress(OSError):
                current.close()

    def _is_over(self, current: Segment, lines: Sequence[bytes], manifests: Sequence[Manifest]) -> bool:
        if current.size and current.size + current.room_for(lines, manifests) > self._max_file_bytes:
            return True
        return self._spans_enough(current)

    def _spans_enough(self, current: Segment) -> bool:
        return self._max_age is not None and self._clock() - current.began >= self._max_age / AGE_PARTS

    def _begin(self) -> None:
        self.close()
        self._delete(self._max_bytes - self._max_file_bytes)
        began = self._clock()
        suffix = PLAIN if self._master is None else SEALED
        path = self._directory / segment_name(began, os.getpid(), self._number, suffix)
        self._number += 1
        self._current = Segment(path, began, self._master)
        if self._sync:
            self._sync_directory()

    def _delete(self, most: int) -> None:
        """Delete the oldest files until they take ``most`` bytes, and those that are too old. Raises OSError where there is no such directory."""
        self._tidied = self._clock()
        files = [path for path in segments_in(self._directory) if self._current is None or path != self._current.path]
        sizes = {path: _size(path) for path in files}
        total = sum(sizes.values()) + (0 if self._current is None else self._current.size)
        for path in files:
            if total <= most and not self._is_too_old(path):
                continue
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            total -= sizes[path]

    def _is_too_old(self, path: Path) -> bool:
        began = began_at(path)
        # Not even a whole look later.
        late = (self.tidy_seconds or 0.0) + self._clock()
        return self._max_age is not None and began is not None and late - began >= self._max_age

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
