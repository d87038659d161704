"""A real redis-server (or valkey-server) on a port of its own, which keeps nothing on the disk."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

COMMAND = shutil.which("redis-server") or shutil.which("valkey-server")
needs_redis = pytest.mark.skipif(COMMAND is None, reason="neither redis-server nor valkey-server is installed")


@dataclass
class RedisServer:
    """Where it listens, and its life."""

    port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Start it, empty, and return when it answers."""
        assert COMMAND is not None
        options = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        self.process = await asyncio.create_subprocess_exec(COMMAND, *options, stdout=asyncio.subprocess.DEVNULL)
        async with asyncio.timeout(20):
            while not await self._answers():  # noqa: ASYNC110 (a state of another process)
                await asyncio.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP makes it silent, SIGCONT wakes it."""
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        """End it as a power cut does."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(b"PING\r\n")
            pong = await reader.readline()
        except OSError:
            return False
        writer.close()
        return pong == b"+PONG\r\n"


@asynccontextmanager
async def redis_server() -> AsyncIterator[RedisServer]:
    """Run one until the end of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = RedisServer(free.getsockname()[1])
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
