"""What stands between the response cache and a store that may be away, slow or full of rubbish: none of that reaches a client."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from structlog.typing import FilteringBoundLogger

from .breaker import Breaker
from .label import Label, Selection
from .sealing import Sealer, Unsealable
from .store import StoredAnswer, decode_answer
from .store_base import Row, RowSelection, Store, StoreFailed, StoreStats

_T = TypeVar("_T")

# Kinds of ``errors``.
ERRORS = ("timeout", "failed", "corrupt", "dropped")
# What waits to be written at the most, and what is written at a time.
MOST_WAITING = 1024
MOST_WAITING_BYTES = 64 << 20
BATCH = 64
BATCH_BYTES = 1 << 20
# Seconds that a write may take, an operator's purge, and what is left to be written when the server ends.
WRITE_SECONDS = 5.0
PURGE_SECONDS = 60.0
FLUSH_SECONDS = 5.0
# Uses that are told to the store together.
TOUCHED = 256
# By so many seconds may the clocks of servers that share a store differ.
CLOCK_SKEW = 60.0


@dataclass(frozen=True, slots=True)
class Found:
    """A kept answer, also as it was encoded, and how many seconds ago it was made."""

    answer: StoredAnswer
    encoded: bytes
    age: float


@dataclass(frozen=True, slots=True)
class _Waiting:
    key: bytes
    label: Label
    encoded: bytes
    made: float


class SecondLevel:
    """Answers in a store, sealed. A lookup takes ``timeout`` seconds at the most; a store that fails a few times in a row is left alone
    for a while. Answers are written in the background, and dropped where too many wait. They are kept for ``ttl`` seconds and ``stale`` more,
    of which those who find one must know. All methods belong to the event loop's thread.

    ``errors`` counts what went wrong by its kind: ``timeout``, ``failed``, ``corrupt`` (an answer that did not open) and ``dropped``
    (one that was not written). ``wall_clock`` gives Unix seconds.
    """

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        logger: FilteringBoundLogger,
        *,
        ttl: float,
        timeout: float,
        stale: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._logger = logger
        self._kept_for = ttl + stale
        self._timeout = timeout
        self._wall_clock = wall_clock
        self._breaker = Breaker(clock)
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._unopened: set[bytes] = set()
        self._touched: set[bytes] = set()
        self._writing: asyncio.Task[None] | None = None
        self._given_up: set[asyncio.Task[Any]] = set()
        self._lock = asyncio.Lock()
        self._is_closed = False
        self.errors: Counter[str] = Counter()
        self.written = 0

    @property
    def is_away(self) -> bool:
        """Whether the store is left alone now."""
        return self._breaker.is_open

    async def find(self, key: bytes, tenant: str) -> Found | None:
        """What the store has under a key, if it says so in time. Raises nothing."""
        if self._is_closed or not self._breaker.allows():
            return None
        stored_key = self._sealer.stored_key(key)
        sealed = await self._attempt(self._store.get(stored_key), self._timeout)
        if sealed is None:
            return None
        return self._opened(sealed, key, tenant)

    def keep(self, key: bytes, label: Label, encoded: bytes) -> None:
        """Have an answer written that was made now."""
        if (
            self._is_closed
            or len(self._waiting) >= MOST_WAITING
            or self._waiting_bytes + len(encoded) > MOST_WAITING_BYTES
        ):
            self.errors["dropped"] += 1
            return
        self._waiting.append(_Waiting(key, label, encoded, self._wall_clock()))
        self._waiting_bytes += len(encoded)
        self._write_soon()

    def touch(self, key: bytes) -> None:
        """The answer under a key was given from memory: the store should not take it for unused."""
        self._touched.add(key)
        if len(self._touched) >= TOUCHED:
            self._write_soon()

    async def purge(self, selection: Selection) -> int:
        """Forget what is selected, also what waits to be written; returns how many rows that were. Raises StoreFailed."""
        self._waiting = deque(one for one in self._waiting if not selection.has(one.key, one.label))
        self._waiting_bytes = sum(len(one.encoded) for one in self._waiting)
        rows = RowSelection(
            key=None if selection.key is None else self._sealer.stored_key(selection.key),
            tenant=None if selection.tenant is None else self._sealer.stored_tenant(selection.tenant),
            model=selection.model,
        )
        try:
            # After what is being written now, which may be among it.
            async with asyncio.timeout(PURGE_SECONDS), self._lock:
                return await self._store.purge(rows)
        except TimeoutError:
            raise StoreFailed(f"it did not answer within {PURGE_SECONDS:g} seconds") from None

    async def stats(self) -> StoreStats:
        """What the store has. Raises StoreFailed."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                return await self._store.stats()
        except TimeoutError:
            raise StoreFailed(f"it did not answer within {WRITE_SECONDS:g} seconds") from None

    async def aclose(self) -> None:
        """Write what waits, as far as that is done within FLUSH_SECONDS, and close the store."""
        self._is_closed = True
        self._write_soon()
        if self._writing is not None:
            await asyncio.wait((self._writing,), timeout=FLUSH_SECONDS)
            self._writing.cancel()
        for task in self._given_up:
            task.cancel()
        await self._store.aclose()

    def _opened(self, sealed: bytes, key: bytes, tenant: str) -> Found | None:
        """The answer, if it is one that may be given; else it is deleted."""
        try:
            encoded, made = self._sealer.open(sealed, key, tenant)
            age = self._wall_clock() - made
            if not -CLOCK_SKEW <= age < self._kept_for:
                raise Unsealable
            return Found(decode_answer(encoded), encoded, max(age, 0.0))
        except (Unsealable, msgspec.DecodeError):
            self.errors["corrupt"] += 1
            self._unopened.add(self._sealer.stored_key(key))
            self._write_soon()
            return None

    def _write_soon(self) -> None:
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        """Write until nothing waits any more."""
        while self._waiting or self._unopened or len(self._touched) >= TOUCHED or (self._touched and self._is_closed):
            async with self._lock:
                batch = self._next_batch()
                unopened, self._unopened = self._unopened, set()
                touched, self._touched = self._touched, set()
                if not self._breaker.allows():
                    self.errors["dropped"] += len(batch)
                    continue
                # Purged while it was on its way here is what no longer waits.
                if await self._attempt(self._write_batch(batch, unopened, touched), WRITE_SECONDS):
                    self.written += len(batch)
                else:
                    self.errors["dropped"] += len(batch)

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while (
            self._waiting and len(batch) < BATCH and (not batch or size + len(self._waiting[0].encoded) <= BATCH_BYTES)
        ):
            one = self._waiting.popleft()
            size += len(one.encoded)
            batch.append(one)
        self._waiting_bytes -= size
        return batch

    async def _write_batch(self, batch: list[_Waiting], unopened: set[bytes], touched: set[bytes]) -> bool:
        if unopened:
            await self._store.delete(sorted(unopened))
        if touched:
            await self._store.touch([self._sealer.stored_key(key) for key in sorted(touched)])
        if batch:
            await self._store.put([self._row(one) for one in batch])
        return True

    def _row(self, one: _Waiting) -> Row:
        return Row(
            key=self._sealer.stored_key(one.key),
            tenant=self._sealer.stored_tenant(one.label.tenant),
            model=one.label.model,
            asked=one.label.asked,
            expires=one.made + self._kept_for,
            sealed=self._sealer.seal(one.encoded, one.key, one.label.tenant, one.made),
        )

    async def _attempt(self, work: Coroutine[Any, Any, _T], seconds: float) -> _T | None:
        """What the store says within ``seconds``; None when it doesn't, or fails.

        An attempt that takes longer goes on alone: it may be the one that brings up a connection for those that follow.
        """
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait((task,), timeout=seconds)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.done():
            self._given_up.add(task)
            task.add_done_callback(self._forget)
            self._failed("timeout", f"it did not answer within {seconds:g} seconds")
            return None
        if (error := task.exception()) is not None:
            if not isinstance(error, StoreFailed):
                raise error
            if error.is_lost:
                self._logger.warning("response cache store lost", reason=str(error))
            self._failed("failed", str(error))
            return None
        if self._breaker.succeeded():
            self._logger.info("response cache store is back")
        return task.result()

    def _failed(self, kind: str, reason: str) -> None:
        self.errors[kind] += 1
        if self._breaker.failed():
            self._logger.warning("response cache store is away", reason=reason)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._given_up.discard(task)
        if not task.cancelled():
            task.exception()  # which nobody else asks for
