"""Answers in Redis or Valkey, which several servers may share. Its own ``maxmemory`` and the answers' times are what bounds it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from pennyweight.server.errors import ConfigError

from .store_base import Row, RowSelection, StoreFailed, StoreStats

if TYPE_CHECKING:
    from redis.asyncio import Redis

_P = ParamSpec("_P")
_T = TypeVar("_T")

# What all keys of ours begin with; the rest is a hash.
PREFIX = b"pennyweight:answer:"
# Seconds that a connection, or an answer of Redis's, may take; who asks waits for less.
SOCKET_SECONDS = 5.0
MOST_CONNECTIONS = 16
# Keys looked through at a time where all are.
_SCANNED_AT_ONCE = 512


def _translated(method: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Raises StoreFailed in the place of whatever the client raises."""

    @functools.wraps(method)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        from redis.exceptions import RedisError

        try:
            return await method(*args, **kwargs)
        except (RedisError, OSError, TimeoutError, ValueError) as error:
            raise StoreFailed(f"Redis: {type(error).__name__}: {error}") from error

    return call


class RedisStore:
    """Implements Store: an answer is a hash with the fields t (tenant), m (model), a (asked) and s (sealed). Raises ConfigError for
    a URL that the client does not understand, or where there is no client."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        try:
            from redis.asyncio import BlockingConnectionPool, Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError:
            raise ConfigError("response_cache.store needs Redis's client: pip install 'pennyweight[redis]'") from None
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=MOST_CONNECTIONS,
                timeout=SOCKET_SECONDS,
                socket_timeout=SOCKET_SECONDS,
                socket_connect_timeout=SOCKET_SECONDS,
                retry=Retry(NoBackoff(), 0),  # one that is away is left alone for a while instead
                protocol=2,
                decode_responses=False,
            )
        except (ValueError, TypeError):
            raise ConfigError(
                "response_cache.store is no URL of Redis's: redis://[:password@]host[:port][/db]"
            ) from None
        self._clock = clock
        self._redis: Redis = Redis.from_pool(pool)

    @_translated
    async def get(self, key: bytes) -> bytes | None:
        return cast("bytes | None", await self._redis.hget(PREFIX + key.hex().encode(), "s"))

    @_translated
    async def put(self, rows: Sequence[Row]) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        for row in rows:
            name = PREFIX + row.key.hex().encode()
            left = round(1000 * (row.expires - self._clock()))
            if left > 0:
                fields = {"t": row.tenant, "m": row.model, "a": row.asked, "s": row.sealed}
                pipeline.hset(name, mapping=cast("Any", fields))
                pipeline.pexpire(name, left)
        await pipeline.execute()

    @_translated
    async def delete(self, keys: Sequence[bytes]) -> None:
        if keys:
            await self._redis.delete(*(PREFIX + key.hex().encode() for key in keys))

    async def touch(self, keys: Sequence[bytes]) -> None:
        """Nothing: what Redis gives up first is its own to decide (``maxmemory-policy``)."""

    @_translated
    async def purge(self, selection: RowSelection) -> int:
        if selection.key is not None:
            batches = [[PREFIX + selection.key.hex().encode()]]
            return sum([await self._purge(batch, selection) for batch in batches])
        return sum([await self._purge(batch, selection) async for batch in self._names()])

    @_translated
    async def stats(self) -> StoreStats:
        return StoreStats(answers=sum([len(batch) async for batch in self._names()]), nbytes=None)

    async def aclose(self) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1.0):
                await self._redis.aclose()

    async def _purge(self, names: list[bytes], selection: RowSelection) -> int:
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.hmget(name, "t", "m", "a")
        model = None if selection.model is None else selection.model.encode()
        chosen = [
            name
            for name, (tenant, *models) in zip(names, await pipeline.execute(), strict=True)
            if selection.tenant in (None, tenant) and (model is None or model in models)
        ]
        return int(await self._redis.delete(*chosen)) if chosen else 0

    async def _names(self) -> AsyncIterator[list[bytes]]:
        """All keys of ours, some at a time; one that comes or goes meanwhile may be among them or not."""
        cursor = 0
        while True:
            cursor, names = await self._redis.scan(cursor, match=PREFIX + b"*", count=_SCANNED_AT_ONCE)
            if names:
                yield [bytes(name) if isinstance(name, bytes) else name.encode() for name in names]
            if not cursor:
                return
