"""The real server in a process of its own, with the native engine and the default model in a child of that."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

MODEL = "smollm2-135m-instruct"
START_SECONDS = 240.0
STOP_SECONDS = 60.0
_PROGRAM = """
import sys
import msgspec
from pennyweight.server.app import serve
from pennyweight.server.config import Settings
sys.exit(serve(msgspec.json.decode(sys.argv[1], type=Settings)))
"""


@dataclass
class ServerProcess:
    """A running server: its process, its log so far, and a client to talk to it."""

    process: asyncio.subprocess.Process
    log: list[dict[str, Any]] = field(default_factory=list)
    logged: asyncio.Condition = field(default_factory=asyncio.Condition)
    url: str = ""
    client: aiohttp.ClientSession = field(init=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for clients that speak no proper HTTP."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of an event."""
        return [line for line in self.log if line.get("event") == event]

    async def until_logged(self, event: str, seconds: float = START_SECONDS) -> dict[str, Any]:
        """The first line of an event, once it is there."""
        async with asyncio.timeout(seconds), self.logged:
            await self.logged.wait_for(lambda: self.lines(event) or self._ended)
            assert self.lines(event), f"the server ended before it logged {event!r}: {self.log[-3:]}"
            return self.lines(event)[0]

    def engine_pid(self) -> int:
        """The process id of the engine's child; a server has one at a time."""
        (pid,) = self.children("pennyweight.server.engines.native.worker")
        return pid

    def children(self, module: str = "") -> list[int]:
        """The process ids of all that runs below the server and has ``module`` in its command line."""
        found = []
        for child in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if module in " ".join(child.cmdline()):
                    found.append(child.pid)
        return found

    async def is_ready(self) -> bool:
        """What /ready says now."""
        async with self.client.get("/ready") as answer:
            return answer.status == 200

    async def until_ready(self, seconds: float) -> None:
        """Wait until /ready says so. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not await self.is_ready():  # noqa: ASYNC110 (a state of another process has no event)
                await asyncio.sleep(0.02)

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels; ``name`` is without our prefix."""
        async with self.client.get("/metrics") as answer:
            text = await answer.text()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == f"pennyweight:{name}" and labels.items() <= sample.labels.items()
        )

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, seconds: float = STOP_SECONDS) -> int:
        """The exit code, once the process has ended. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    @property
    def _ended(self) -> bool:
        assert self.process.stderr is not None
        return self.process.stderr.at_eof()

    async def read_log(self) -> None:
        """Collect the log until the process closes it."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"event": "not JSON", "text": line.decode(errors="replace")})
            async with self.logged:
                self.logged.notify_all()
        async with self.logged:
            self.logged.notify_all()


@asynccontextmanager
async def server_process(
    *,
    ready: bool = True,
    stop: signal.Signals = signal.SIGTERM,
    environment: Mapping[str, str] | None = None,
    **overrides: Mapping[str, Any],
) -> AsyncIterator[ServerProcess]:
    """Run a server until the end of the block.

    ``overrides`` are the sections of the settings (``engine={...}``); ``environment`` is added to this process's own.
    """
    http = {"host": "127.0.0.1", "port": 0, "grace_period": 5.0} | dict(overrides.pop("http", {}))
    engine = {"model": MODEL, "kv_cache_memory": 256 << 20} | dict(overrides.pop("engine", {}))
    settings = json.dumps({"http": http, "engine": engine, **overrides})
    server = ServerProcess(
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _PROGRAM,
            settings,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
            env={**os.environ, **(environment or {})},
        )
    )
    reading = asyncio.create_task(server.read_log())
    try:
        server.url = (await server.until_logged("listening"))["url"]
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(server.url, connector=connector) as server.client:
            if ready:
                await server.until_logged("ready")
            yield server
    finally:
        if server.process.returncode is None:
            server.signal(stop)
            try:
                await server.ended()
            except TimeoutError:
                os.kill(server.pid, signal.SIGKILL)
                await server.process.wait()
                raise
        await reading
