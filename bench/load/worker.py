"""A client in a process of its own, so that no other client's work and no progress view delays what it times."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import Protocol

import msgspec

from .client import Client, ClientReport, Turnstile
from .endpoint import Endpoint
from .mode import Mode
from .progress import OnProgress, Progress
from .request import PlannedRequest

PROGRESS_SECONDS = 0.25
STOP_SECONDS = 5
_spawn = multiprocessing.get_context("spawn")
_decoder = msgspec.msgpack.Decoder(ClientReport | Progress)


class ClientDied(Exception):
    """A client process ended before its load did."""


class Share(msgspec.Struct):
    """What one client of a load does. In an open loop ``sessions`` are its own; in a closed one they are all of the load's,
    and ``clients`` is how many of its concurrent clients are this one's.
    """

    endpoint: Endpoint
    requests: dict[int, PlannedRequest]
    sessions: list[list[int]]
    mode: Mode
    clients: int
    request_seconds: float
    keep_text: bool

    def client(self) -> Client:
        return Client(
            self.endpoint,
            self.requests,
            self.sessions,
            self.mode,
            request_seconds=self.request_seconds,
            keep_text=self.keep_text,
        )


class SharedTurnstile:
    """A Turnstile for several processes."""

    def __init__(self) -> None:
        self._next = _spawn.Value("q", 0)

    def __call__(self) -> int:
        with self._next.get_lock():
            self._next.value += 1
            return int(self._next.value) - 1


class _Process(Protocol):
    """What is used of multiprocessing's processes, which has no public name for those of a context."""

    @property
    def exitcode(self) -> int | None: ...


class Worker:
    """A started client process, made by ``started``."""

    def __init__(self, process: _Process, pipe: Connection) -> None:
        self._process = process
        self._pipe = pipe

    async def ready(self) -> None:
        """Wait until it has read its share and could begin. Raises ClientDied."""
        await self._receive()

    async def run(self, start: float, on_progress: OnProgress) -> ClientReport:
        """Let it run from ``start``, on time.perf_counter()'s clock, which is the system's. Raises ClientDied."""
        self._pipe.send(start)
        while True:
            message = _decoder.decode(await self._receive())
            if isinstance(message, ClientReport):
                return message
            on_progress(message)

    async def _receive(self) -> bytes:
        try:
            return await asyncio.to_thread(self._pipe.recv_bytes)
        except (EOFError, OSError) as error:
            raise ClientDied(f"a client process ended with exit code {self._process.exitcode}") from error


@asynccontextmanager
async def started(share: Share, take: SharedTurnstile) -> AsyncIterator[Worker]:
    """Start a client process, and end it after the block."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=_main, args=(theirs, take), daemon=True)
    process.start()
    theirs.close()
    try:
        await asyncio.to_thread(ours.send_bytes, msgspec.msgpack.encode(share))
        yield Worker(process, ours)
    finally:
        process.terminate()
        await asyncio.to_thread(process.join, STOP_SECONDS)
        ours.close()


def _main(pipe: Connection, take: Turnstile) -> None:
    # Ctrl-C reaches the whole process group; ending the clients is their parent's affair.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError):
        share = msgspec.msgpack.decode(pipe.recv_bytes(), type=Share)
        client = share.client()
        pipe.send_bytes(b"")
        start = pipe.recv()
        asyncio.run(_run(client, start, take, share.clients, pipe))


async def _run(client: Client, start: float, take: Turnstile, clients: int, pipe: Connection) -> None:
    running = asyncio.ensure_future(client.run(start, take, clients))
    while not running.done():
        await asyncio.wait((running,), timeout=PROGRESS_SECONDS)
        pipe.send_bytes(msgspec.msgpack.encode(client.progress()))
    pipe.send_bytes(msgspec.msgpack.encode(running.result()))
