"""One file of a recording that is being written."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from pennyweight.server.engines.manifest import Manifest

from .line import encode_line, new_header
from .sealing import LineSealer, sealed_length

# How often it is looked whether the file is still there. Not with each write: a thread that has asked the system for something has
# to wait for the interpreter, which is 5 ms where the event loop is busy.
CHECK_SECONDS = 0.1


class Segment:
    """A new file, for lines to be appended; one thread's. Its owner alone may read it.

    With ``master`` (32 bytes) its lines are encrypted. ``size`` is what is in it, ``manifests`` are the fingerprints of those that are.
    """

    def __init__(self, path: Path, began: float, master: bytes | None) -> None:
        """Raises OSError, FileExistsError where there is one of that name."""
        self.path = path
        self.began = began
        self.size = 0
        self.manifests: set[str] = set()
        self._checked = 0.0
        self._sealer = None if master is None else LineSealer(master)
        self._header: bytes | None = encode_line(new_header(began))
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def room_for(self, lines: Sequence[bytes], manifests: Sequence[Manifest]) -> int:
        """Bytes that they will take, at the most."""
        return sum(self._length(line) for line in (*self._missing(manifests), *lines))

    def append(self, lines: Sequence[bytes], manifests: Sequence[Manifest], *, sync: bool) -> int:
        """Append lines, after the manifests that are not in it yet; returns by how many bytes it has grown.

        When it returns, the lines are in the file, also should this process be killed; with ``sync``, also should the machine lose its
        power. Raises OSError; the file is then as before if that can be had, and must not be appended to any more.
        """
        missing = self._missing(manifests)
        data = b"".join([self._sealed(line) + b"\n" for line in (*missing, *lines)])
        try:
            self._write(data)
            if sync:
                os.fdatasync(self._descriptor)
            self._check()
        except OSError:
            os.ftruncate(self._descriptor, self.size)
            raise
        self._header = None
        if missing:
            self.manifests.update(one.fingerprint for one in manifests)
        self.size += len(data)
        return len(data)

    def close(self) -> None:
        """Nothing is appended any more."""
        os.close(self._descriptor)

    def _check(self) -> None:
        """Raise FileNotFoundError if it has been deleted, which no write tells."""
        now = time.monotonic()
        if now - self._checked >= CHECK_SECONDS:
            self._checked = now
            if not os.fstat(self._descriptor).st_nlink:
                raise FileNotFoundError(f"{self.path} was deleted")

    def _missing(self, manifests: Sequence[Manifest]) -> list[bytes]:
        found = {one.fingerprint: one for one in manifests if one.fingerprint not in self.manifests}
        if self._header is None and not found:
            return []
        head = [] if self._header is None else [self._header]
        return [*head, *(encode_line(one) for one in found.values())]

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _sealed(self, line: bytes) -> bytes:
        return line if self._sealer is None else self._sealer.seal(line)

    def _length(self, line: bytes) -> int:
        return 1 + (len(line) if self._sealer is None else sealed_length(len(line)))
