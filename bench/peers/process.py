"""A peer's server as running processes, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from pennyweight.bench.load.sample import BadAnswer
from pennyweight.bench.memory import process_tree

from .base import Peer, PeerFailed

POLL_SECONDS = 0.05
START_SECONDS = 600
STOP_SECONDS = 30
LOG_TAIL_BYTES = 4000
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class RunningServer:
    """A server that is ready. ``started`` is when its process was, on time.perf_counter()'s clock."""

    url: str
    pid: int
    started: float
    seconds_to_ready: float


@asynccontextmanager
async def running(peer: Peer, port: int | None = None) -> AsyncIterator[RunningServer]:
    """Start a peer's server (on a free port unless one is given), wait until it is ready, and end all of its processes after.

    Its working directory is an empty one: in a checkout of this project, Python would find our folders before other
    projects' packages of the same name. Raises PeerFailed, with the end of the server's log, also for a BadAnswer.
    """
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="pennyweight-bench-") as directory:
        log = Path(directory) / "log"
        started = time.perf_counter()
        try:
            with log.open("wb") as out:
                process = await asyncio.create_subprocess_exec(
                    *peer.command(port),
                    stdin=DEVNULL,
                    stdout=out,
                    stderr=out,
                    cwd=directory,
                    env=os.environ | peer.environment,
                    start_new_session=True,
                    preexec_fn=end_with_parent,
                )
        except OSError as error:
            raise PeerFailed(f"{peer.name} can't be started: {error}") from error
        try:
            await _ready(process, f"{url}{peer.ready_path}", log)
            yield RunningServer(url, process.pid, started, time.perf_counter() - started)
            if process.returncode is not None:
                raise PeerFailed(f"the server ended with {process.returncode} while it was measured: {_tail(log)}")
        except BadAnswer as error:
            raise PeerFailed(str(error), _tail(log)) from error
        finally:
            await _stop(process)


def end_with_parent() -> None:
    """For a child between fork and exec: have it told to end (SIGTERM) should this process be killed, where the system can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port() -> int:
    """A port of the loopback interface on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def _ready(process: Process, url: str, log: Path) -> None:
    timeout = aiohttp.ClientTimeout(total=5)
    deadline = time.perf_counter() + START_SECONDS
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while time.perf_counter() < deadline:
            if process.returncode is not None:
                raise PeerFailed(f"the server ended with {process.returncode} before it was ready: {_tail(log)}")
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(POLL_SECONDS)
    raise PeerFailed(f"the server wasn't ready within {START_SECONDS} s: {_tail(log)}")


async def _stop(process: Process) -> None:
    """End a server as its users do, and after a while by force; also what it leaves behind or has put elsewhere."""
    tree: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        tree = process_tree(process.pid)
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            # By its pid: process.terminate() looks whether it has ended, and so takes that from asyncio, which complains.
            os.kill(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for one in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    await process.wait()


def _tail(log: Path) -> str:
    return log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
