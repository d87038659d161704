"""Answers in a file of SQLite's, on one connection in one thread: the event loop never waits for the disk.

The connection holds the file for itself: SQLite 3.7.0 to 3.51.2 may lose what two connections write through one log (the WAL-reset
bug), and a second server's bound would not know of the first's. What was deleted is overwritten. A file that is damaged is moved
aside, and a new one begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from .store_base import Row, RowSelection, StoreFailed, StoreStats

_T = TypeVar("_T")

# "pwrc": by this a file is known to be ours.
APPLICATION_ID = 0x70777263
# Goes up with every change of the table: a file of another version is emptied.
SCHEMA_VERSION = 1
_SETTINGS = (
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA auto_vacuum = INCREMENTAL",  # counts in a new file alone
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA secure_delete = ON",
    "PRAGMA journal_size_limit = 4194304",
)
_SCHEMA = (
    "DROP TABLE IF EXISTS answers",
    "CREATE TABLE answers (key BLOB NOT NULL UNIQUE, tenant BLOB NOT NULL, model TEXT NOT NULL, asked TEXT NOT NULL,"
    " expires REAL NOT NULL, used REAL NOT NULL, sealed BLOB NOT NULL)",
    "CREATE INDEX by_use ON answers (used)",
    "CREATE INDEX by_end ON answers (expires)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
# Rows that give way at a time.
_EVICTED_AT_ONCE = 16


class SqliteStore:
    """Implements Store. The file takes ``max_bytes`` and what one ``put`` adds to it at the most, its log a few MiB more; the rows
    used the longest ago give way. ``clock`` gives Unix seconds.
    """

    def __init__(self, path: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pennyweight-response-cache")
        # Before the first request comes: it may have to recover what a killed server has left.
        self._thread.submit(self._guarded, self._opened)

    async def get(self, key: bytes) -> bytes | None:
        def work() -> bytes | None:
            query = "SELECT sealed FROM answers WHERE key = ? AND expires > ?"
            row = self._opened().execute(query, (key, self._clock())).fetchone()
            return None if row is None else row[0]

        return await self._run(work)

    async def put(self, rows: Sequence[Row]) -> None:
        def work() -> None:
            now, connection = self._clock(), self._opened()
            with _transaction(connection):
                connection.execute("DELETE FROM answers WHERE expires <= ?", (now,))
                connection.executemany(
                    "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [
                        (one.key, one.tenant, one.model, one.asked, one.expires, now, one.sealed)
                        for one in rows
                        if one.nbytes < self._max_bytes
                    ],
                )
                while self._used_bytes(connection) > self._max_bytes:
                    query = (
                        "DELETE FROM answers WHERE rowid IN (SELECT rowid FROM answers ORDER BY used, rowid LIMIT ?)"
                    )
                    if not connection.execute(query, (_EVICTED_AT_ONCE,)).rowcount:
                        break
            if self._pages(connection) * self._page_bytes(connection) > self._max_bytes:
                connection.execute("PRAGMA incremental_vacuum").fetchall()

        await self._run(work)

    async def delete(self, keys: Sequence[bytes]) -> None:
        def work() -> None:
            connection = self._opened()
            with _transaction(connection):
                connection.executemany("DELETE FROM answers WHERE key = ?", [(key,) for key in keys])

        await self._run(work)

    async def touch(self, keys: Sequence[bytes]) -> None:
        def work() -> None:
            now, connection = self._clock(), self._opened()
            with _transaction(connection):
                connection.executemany("UPDATE answers SET used = ? WHERE key = ?", [(now, key) for key in keys])

        await self._run(work)

    async def purge(self, selection: RowSelection) -> int:
        def work() -> int:
            connection = self._opened()
            conditions, values = ["TRUE"], list[bytes | str]()
            for condition, value in (
                ("key = ?", selection.key),
                ("tenant = ?", selection.tenant),
                ("? IN (model, asked)", selection.model),
            ):
                if value is not None:
                    conditions.append(condition)
                    values.append(value)
            purged = connection.execute(f"DELETE FROM answers WHERE {' AND '.join(conditions)}", values).rowcount
            connection.execute("PRAGMA incremental_vacuum").fetchall()
            # What was purged is in the log still, which is written into the file and cut off here.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return purged

        return await self._run(work)

    async def stats(self) -> StoreStats:
        def work() -> StoreStats:
            connection = self._opened()
            (answers,) = connection.execute("SELECT count(*) FROM answers").fetchone()
            return StoreStats(answers=answers, nbytes=self._pages(connection) * self._page_bytes(connection))

        return await self._run(work)

    async def aclose(self) -> None:
        with contextlib.suppress(StoreFailed):
            await self._run(self._close)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)
        except RuntimeError as error:  # the thread was told to end
            raise StoreFailed(str(error)) from error

    def _guarded(self, work: Callable[[], _T]) -> _T:
        """Do it, on the store's thread. Raises StoreFailed; the next call then opens the file anew."""
        try:
            return work()
        except sqlite3.DatabaseError as error:
            self._close()
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise StoreFailed(f"{self._path}: {error}") from error
            raise StoreFailed(f"{self._path}: {error}; {self._set_aside()}", is_lost=True) from error
        except (sqlite3.Error, OSError) as error:
            self._close()
            raise StoreFailed(f"{self._path}: {error}") from error

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Answers are for nobody else's eyes; SQLite would create it as the umask has it.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables and application != APPLICATION_ID:
            raise StoreFailed(f"{self._path} is another program's database")
        for setting in _SETTINGS:
            connection.execute(setting).fetchall()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        with _transaction(connection):  # also what takes the file for this connection alone
            if not tables or version != SCHEMA_VERSION:
                for statement in _SCHEMA:
                    connection.execute(statement)

    def _set_aside(self) -> str:
        """Begin anew where a file is damaged; returns what was done."""
        kept = self._path.with_name(self._path.name + ".damaged")
        try:
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._path.replace(kept)
        except OSError as error:
            return f"it could not be moved aside ({error})"
        return f"it is {kept} now, and a new one was begun"

    def _used_bytes(self, connection: sqlite3.Connection) -> int:
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        return (self._pages(connection) - int(free)) * self._page_bytes(connection)

    def _pages(self, connection: sqlite3.Connection) -> int:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        return int(pages)

    def _page_bytes(self, connection: sqlite3.Connection) -> int:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        return int(size)

    def _close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(sqlite3.Error):
                connection.close()


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
