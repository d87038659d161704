"""Checks texts against JSON Schemas where a schema can do no harm: in a process of its own, which is ended when it takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import msgspec

from pennyweight.server.engines.frames import HEADER, pack_frame

# Seconds that a check may take, and that it may have to wait for others; the first of a process may take longer, for the imports.
CHECK_SECONDS = 1.0
START_SECONDS = 30.0

_encode = msgspec.msgpack.Encoder().encode


class SchemaChecker:
    """One process, started by the first check and again after one that was ended. Belongs to one event loop.

    Both schema and text come from outside: a few bytes of schema may take minutes to check (``$ref``s that branch, regexes that backtrack).
    """

    def __init__(self, seconds: float = CHECK_SECONDS) -> None:
        self._seconds = seconds
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._is_closed = False

    async def is_valid(self, schema: str, text: str) -> bool:
        """Whether the text is JSON and valid by the schema. False too where that can't be told: the schema is none, or takes too long."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._turn.acquire()
        except TimeoutError:
            return False
        try:
            if self._is_closed:
                return False
            process = await self._started()
            return await self._asked(process, schema, text, self._seconds)
        except OSError:  # no process can be started now
            return False
        finally:
            self._turn.release()

    async def aclose(self) -> None:
        """End the process."""
        self._is_closed = True
        await self._end()

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "pennyweight.server.router.cascade.schema_worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            await self._asked(self._process, "true", "null", START_SECONDS)
        return self._process

    async def _asked(self, process: asyncio.subprocess.Process, schema: str, text: str, seconds: float) -> bool:
        assert process.stdin is not None
        assert process.stdout is not None
        answer = b""
        try:
            async with asyncio.timeout(seconds):
                process.stdin.write(pack_frame(_encode((schema, text))))
                await process.stdin.drain()
                (length,) = HEADER.unpack(await process.stdout.readexactly(HEADER.size))
                answer = await process.stdout.readexactly(length)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            # Also when whoever asked has left: what it would answer late is no answer to the next.
            if not answer:
                await self._end()
        return answer == b"1"

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
