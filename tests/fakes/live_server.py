"""The whole server on a real socket, with scripted engines that have a life: they load, become ready and are closed."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
from fakes.scripted_engine import ScriptedEngine

from pennyweight.server.admission import Admission
from pennyweight.server.app import create_app
from pennyweight.server.config import (
    HttpSettings,
    LimitSettings,
    LogSettings,
    OverloadSettings,
    ResponseCacheSettings,
    Settings,
)
from pennyweight.server.engines.base import EngineStats, Health, HealthState
from pennyweight.server.errors import ModelError, ShuttingDown
from pennyweight.server.serving import Serving, bind
from pennyweight.server.telemetry.logs import make_logger
from pennyweight.server.types import Event, Request

CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]}


@dataclass
class LiveEngine(ScriptedEngine):
    """A ScriptedEngine that is loading until ``loaded`` is set, and ends its requests with ShuttingDown when closed."""

    loaded: asyncio.Event = field(default_factory=asyncio.Event)
    failure: ModelError | None = None
    state: HealthState = HealthState.READY
    now: EngineStats = field(default_factory=EngineStats)
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        await self.loaded.wait()
        if self.failure is not None:
            raise self.failure

    def health(self) -> Health:
        return Health(state=self.state if self.loaded.is_set() else HealthState.LOADING, detail="scripted")

    def stats(self) -> EngineStats:
        return self.now

    async def generate(self, request: Request) -> AsyncGenerator[Event]:
        closing = asyncio.create_task(self.closing.wait())
        try:
            async with aclosing(super().generate(request)) as events:
                while True:
                    event = asyncio.create_task(anext(events, None))
                    try:
                        await asyncio.wait((event, closing), return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        if not event.done():
                            event.cancel()
                            await asyncio.wait((event,))
                    if closing.done():
                        raise ShuttingDown("The server is shutting down.")
                    if (found := event.result()) is None:
                        return
                    yield found
        finally:
            closing.cancel()

    async def aclose(self) -> None:
        self.closing.set()


@dataclass
class LiveServer:
    """A server under test: where it listens, what it logged, and its end."""

    host: str
    port: int
    engine: LiveEngine
    serving: Serving
    running: asyncio.Task[int]
    output: io.StringIO
    client: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def log(self, event: str = "request") -> list[dict[str, Any]]:
        """The log's lines of an event."""
        lines = [json.loads(line) for line in self.output.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]

    async def logged(self, event: str = "request", count: int = 1) -> list[dict[str, Any]]:
        """As ``log``, once there are ``count`` of them: a request is logged a moment after its client has its answer."""
        while len(self.log(event)) < count:  # noqa: ASYNC110 (a line of text has no event)
            await asyncio.sleep(0.001)
        return self.log(event)

    async def exchange(self, data: bytes) -> bytes:
        """Everything that the server sends back for raw bytes, until it closes the connection."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(data)
        try:
            return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def live_server(
    engine: LiveEngine | None = None,
    *,
    http: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
    log: Mapping[str, Any] | None = None,
    response_cache: Mapping[str, Any] | None = None,
    overload: Mapping[str, Any] | None = None,
    loaded: bool = True,
    engines: Mapping[str, LiveEngine] | None = None,
    sections: Mapping[str, Any] | None = None,
) -> AsyncIterator[LiveServer]:
    """Run a server with one engine under the name ``scripted``, or with ``engines``. ``sections`` are whole ones of the settings."""
    settings = Settings(
        http=msgspec.structs.replace(HttpSettings(port=0, grace_period=5.0), **(http or {})),
        limits=msgspec.structs.replace(LimitSettings(), **(limits or {})),
        log=msgspec.structs.replace(LogSettings(level="debug"), **(log or {})),
        response_cache=ResponseCacheSettings(**(response_cache or {})),
        overload=OverloadSettings(**(overload or {})),
    )
    settings = msgspec.structs.replace(settings, **(sections or {}))
    engines = engines or {"scripted": engine or LiveEngine()}
    engine = next(iter(engines.values()))
    if loaded:
        for one in engines.values():
            one.loaded.set()
    output = io.StringIO()
    logger = make_logger(settings.log, output)
    admission = Admission(settings.limits.max_waiting)
    app = create_app(settings, engines, admission=admission, logger=logger)
    listener = bind(settings.http.host, settings.http.port)
    host, port = listener.getsockname()
    listening = asyncio.Event()
    serving = Serving(app, settings.http, engines, admission, logger, on_listening=listening.set)
    running = asyncio.create_task(serving.run(listener))
    await listening.wait()
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
            yield LiveServer(host, port, engine, serving, running, output, client)
    finally:
        if not running.done():
            serving.stop()
            await running
        await app.aclose()
