"""The index in PostgreSQL, by pgvector, for more vectors than the server's memory should hold."""

from __future__ import annotations

import uuid
from typing import Any, Self

import numpy as np
import psycopg
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection, sql

from .index import Vector


class PostgresIndex:
    """Implements VectorIndex by a table of its own, exact search, and one connection.

    The answers are in the server's memory, and so the vectors live as long: the table is unlogged, and dropped at the end. Errors of the
    database are raised as they are.
    """

    def __init__(self, connection: AsyncConnection[Any], table: str) -> None:
        self._connection = connection
        self._table = sql.Identifier(table)
        self._dimensions: int | None = None

    @classmethod
    async def open(cls, url: str, version: str) -> Self:
        """A new, empty index. Raises psycopg.Error where the database, or its extension, can't be had."""
        connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        await register_vector_async(connection)
        return cls(connection, f"pennyweight_semantic_{uuid.uuid4().hex}")

    async def add(self, partition: bytes, entry: int, vector: Vector) -> None:
        if self._dimensions is None:
            await self._create(len(vector))
        await self._connection.execute(
            sql.SQL(
                "INSERT INTO {} (entry, partition, vector) VALUES (%s, %s, %s) ON CONFLICT (entry) DO UPDATE SET vector = EXCLUDED.vector"
            ).format(self._table),
            (entry, partition, vector),
        )

    async def remove(self, partition: bytes, entry: int) -> None:
        if self._dimensions is not None:
            await self._connection.execute(sql.SQL("DELETE FROM {} WHERE entry = %s").format(self._table), (entry,))

    async def nearest(self, partition: bytes, vector: Vector, count: int) -> list[tuple[int, float]]:
        if self._dimensions is None:
            return []
        cursor = await self._connection.execute(
            sql.SQL(
                "SELECT entry, -(vector <#> %s) AS cosine FROM {} WHERE partition = %s ORDER BY vector <#> %s, entry LIMIT %s"
            ).format(self._table),
            (vector, partition, vector, count),
        )
        return [(int(entry), float(np.float32(cosine))) for entry, cosine in await cursor.fetchall()]

    async def aclose(self) -> None:
        await self._connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self._table))
        await self._connection.close()

    async def _create(self, dimensions: int) -> None:
        # A B-tree over partitions and no approximate index: what is found must not depend on the order of insertion.
        await self._connection.execute(
            sql.SQL(
                "CREATE UNLOGGED TABLE IF NOT EXISTS {} (entry bigint PRIMARY KEY, partition bytea NOT NULL, vector vector({}) NOT NULL)"
            ).format(self._table, sql.Literal(dimensions))
        )
        await self._connection.execute(
            sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} (partition)").format(
                sql.Identifier(self._table._obj[0] + "_partition"), self._table
            )
        )
        self._dimensions = dimensions
