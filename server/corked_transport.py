"""A connection that sends what is written to it at once in one piece."""

from __future__ import annotations

import asyncio
from typing import Any

# More than this isn't kept back, so that the transport's own bound is what a writer meets; it is asyncio's default for that.
MAX_KEPT_BYTES = 64 * 1024


class CorkedTransport:
    """A transport whose writes go out together, when the event loop comes around next.

    uvloop makes a system call of each write, and one takes as long as making the event of a token. An answer's header and
    body are two writes, and an engine that is ahead of its server has several tokens for a stream. Everything else is the
    inner transport's.
    """

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop
        self._kept: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        if not self._kept:
            self._loop.call_soon(self._flush)
        self._kept.append(data)
        self._size += len(data)
        if self._size > MAX_KEPT_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._inner.close()

    def abort(self) -> None:
        self._kept, self._size = [], 0
        self._inner.abort()

    def get_write_buffer_size(self) -> int:
        return self._size + self._inner.get_write_buffer_size()

    def _flush(self) -> None:
        kept = self._kept
        if kept:
            self._kept, self._size = [], 0
            self._inner.write(kept[0] if len(kept) == 1 else b"".join(kept))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
