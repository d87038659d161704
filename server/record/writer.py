"""The one thread that writes records, and what it is told by the event loop's."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from pennyweight.server.cache.breaker import Breaker
from pennyweight.server.engines.manifest import Manifest

from .draft import Draft
from .line import encode_line
from .redaction import Redaction
from .segments import Segments

# Why records are dropped: too much is waiting; they are too large for a file; a hook failed, or wanted nothing written; the disk failed.
REASONS = ("full", "too_large", "redaction", "redacted", "failed")
# What waits may take in memory, however few they are.
MOST_PENDING_BYTES = 64 << 20
# What is written at a time, at the most. A record may take the fourth part of a file: sealed, with its manifest, it still fits.
BATCH = 256
BATCH_BYTES = 1 << 20
FILE_PARTS = 4
# What is left to be written when the server ends has so many seconds.
FLUSH_SECONDS = 5.0

_Told = Callable[[bool], None]


@dataclass(frozen=True, slots=True)
class _Pending:
    draft: Draft
    manifest: Manifest | None
    nbytes: int
    tell: _Told | None


class Writer:
    """Writes records to ``segments``, as many at a time as have come while it wrote the last. Where that fails, it tries again after a while, and drops
    what comes meanwhile.

    ``submit`` and what it counts are for the event loop's thread. ``written`` counts records, ``nbytes`` what they took in the files,
    ``dropped`` those that were not written, by ``REASONS``.
    """

    def __init__(
        self,
        segments: Segments,
        redaction: Redaction,
        logger: FilteringBoundLogger,
        *,
        max_pending: int,
        max_file_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._segments = segments
        self._redaction = redaction
        self._logger = logger
        self._max_pending = max_pending
        self._max_line = max_file_bytes // FILE_PARTS
        self._clock = clock
        self._breaker = Breaker(clock, failures=1)
        self._queue: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._is_closed = False
        self._has_failed_to_make = False
        # Each is written by one thread alone: what went in by the loop's, what came out by the writer's.
        self._taken, self._taken_bytes = 0, 0
        self._done, self._done_bytes = 0, 0
        self._busy_since: float | None = None
        self.written = 0
        self.nbytes = 0
        self.dropped: Counter[str] = Counter()

    @property
    def pending(self) -> int:
        """Records that wait to be written, or are being written."""
        return self._taken - self._done

    @property
    def is_away(self) -> bool:
        """Whether the last attempt to write failed."""
        return self._breaker.is_open

    def busy_seconds(self) -> float:
        """How long the batch has been worked on that is being written; 0 where there is none."""
        since = self._busy_since
        return 0.0 if since is None else self._clock() - since

    def submit(self, draft: Draft, manifest: Manifest | None, tell: _Told | None = None) -> bool:
        """Have a record written; false where too much is waiting. Never blocks.

        ``tell`` is called on the running loop with whether it was written, once that is known.
        """
        nbytes = draft.nbytes
        waiting = self._taken_bytes - self._done_bytes
        if self._is_closed or self.pending >= self._max_pending or waiting + nbytes > MOST_PENDING_BYTES:
            self.dropped["full"] += 1
            return False
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
            self._thread.start()
        self._taken += 1
        self._taken_bytes += nbytes
        self._queue.put(_Pending(draft, manifest, nbytes, tell))
        return True

    async def aclose(self) -> None:
        """Write what waits, as far as that is done within FLUSH_SECONDS, and end the thread."""
        self._is_closed = True
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join, FLUSH_SECONDS)

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._next_batch()
            self._busy_since = self._clock()
            self._write(batch)
            self._busy_since = None
            self._segments.tidy()
        self._segments.close()

    def _next_batch(self) -> tuple[list[_Pending], bool]:
        """What has come, and whether more may; nothing where it is time to look after the files."""
        batch: list[_Pending] = []
        try:
            one = self._queue.get(timeout=self._segments.tidy_seconds)
            while one is not None:
                batch.append(one)
                if len(batch) == BATCH:
                    return batch, True
                one = self._queue.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _write(self, batch: Sequence[_Pending]) -> None:
        most = min(BATCH_BYTES, self._max_line)
        group: list[tuple[_Pending, bytes]] = []
        size = 0
        for one in batch:
            line = self._line(one)
            if line is None:
                self._settle([one], is_written=False)
                continue
            if group and size + len(line) > most:
                self._flush(group)
                group, size = [], 0
            group.append((one, line))
            size += len(line)
        if group:
            self._flush(group)

    def _line(self, one: _Pending) -> bytes | None:
        try:
            record = self._redaction(one.draft.record())
            line = None if record is None else encode_line(record)
        except Exception as error:  # of an operator's function anything may come
            self.dropped["redaction"] += 1
            if not self._has_failed_to_make:
                self._has_failed_to_make = True
                # Its text may have what it was to leave out.
                self._logger.warning(
                    "a record was not made", kind=type(error).__name__, request_id=one.draft.request.id
                )
            return None
        if line is None:
            self.dropped["redacted"] += 1
        elif len(line) > self._max_line:
            self.dropped["too_large"] += 1
            return None
        return line

    def _flush(self, group: Sequence[tuple[_Pending, bytes]]) -> None:
        is_written = self._attempt(
            [line for _, line in group], [one.manifest for one, _ in group if one.manifest is not None]
        )
        if is_written:
            self.written += len(group)
        else:
            self.dropped["failed"] += len(group)
        self._settle([one for one, _ in group], is_written=is_written)

    def _attempt(self, lines: Sequence[bytes], manifests: Sequence[Manifest]) -> bool:
        if not self._breaker.allows():
            return False
        # A file that can't be written any more may be one that was deleted: a new one is tried before anything is given up.
        for is_last in (False, True):
            try:
                self.nbytes += self._segments.write(lines, manifests)
            except OSError as error:
                if is_last and self._breaker.failed():
                    self._logger.warning("recording is away", reason=str(error))
            else:
                if self._breaker.succeeded():
                    self._logger.info("recording is back", dropped=self.dropped["failed"])
                return True
        return False

    def _settle(self, settled: Sequence[_Pending], *, is_written: bool) -> None:
        self._done += len(settled)
        self._done_bytes += sum(one.nbytes for one in settled)
        waiting = [one.tell for one in settled if one.tell is not None]
        if waiting:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(_tell, waiting, is_written)


def _tell(waiting: Sequence[_Told], is_written: bool) -> None:
    for tell in waiting:
        tell(is_written)
