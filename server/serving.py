"""The server's process: its socket, its engines' life beside it, its signals, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol

import uvicorn
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from .admission import Admission
from .config import HttpSettings
from .connection import GuardedProtocol
from .engines.base import Engine, HealthState
from .errors import ConfigError, ModelLoading

# What a last chunk needs to get out once everything has ended.
FLUSH_SECONDS = 5
BACKLOG = 2048


class StartableEngine(Engine, Protocol):
    """An engine that is loaded beside the running server."""

    async def start(self) -> None:
        """Load the model and return when it takes requests. Raises ModelError when it can't be loaded."""
        ...


def bind(host: str, port: int, *, section: str = "http") -> socket.socket:
    """A socket bound to an address; nobody can connect before it listens. Raises ConfigError."""
    place = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(f"{section}.host: {host!r} is no address of this machine ({error.strerror})") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        flags = "--host or --port" if section == "http" else "--admin-port"
        raise ConfigError(f"cannot listen on {place}: {error.strerror}; choose another with {flags}") from None
    return listener


class _Server(uvicorn.Server):
    """uvicorn's server, which drains before it closes connections, and leaves signals to its owner."""

    def __init__(
        self, config: uvicorn.Config, *, listening: Callable[[], None], drain: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(config)
        self._listening = listening
        self._drain = drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await self._drain()
        await super().shutdown(sockets)


async def _nothing() -> None:
    """What there is to drain of the administration."""


class Serving:
    """One run of the server. The application answers from the beginning, its engines as they become ready.

    The first SIGTERM or SIGINT drains: no new connection, 503 for new calls on those there are, what is under way may end
    within ``grace_period``; then the engines are closed, which ends the rest with ShuttingDown. A second one does not
    wait. A third kills. ``on_listening`` is called when clients can connect, ``on_ready`` when every engine has started.
    ``admin`` is an application of its own, served as long on a socket of its own.
    """

    def __init__(
        self,
        app: ASGIApp,
        http: HttpSettings,
        engines: Mapping[str, StartableEngine],
        admission: Admission,
        logger: FilteringBoundLogger,
        *,
        on_listening: Callable[[], None] = lambda: None,
        on_ready: Callable[[], None] = lambda: None,
        admin: ASGIApp | None = None,
    ) -> None:
        self._http = http
        self._engines = list({id(engine): engine for engine in engines.values()}.values())
        self._admission = admission
        self._logger = logger
        self._on_ready = on_ready
        self._hurry = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._exit_code = 0
        self._server = _Server(uvicorn_config(app, http), listening=on_listening, drain=self._drain)
        self._admin: _Server | None = None
        if admin is not None:
            self._admin = _Server(uvicorn_config(admin, http), listening=lambda: None, drain=_nothing)

    async def run(self, listener: socket.socket, admin_listener: socket.socket | None = None) -> int:
        """Serve until a signal, and return the exit code; or until an engine can't start, and raise what it raised."""
        self._starting = asyncio.create_task(self._start_engines())
        administering: asyncio.Task[None] | None = None
        if self._admin is not None and admin_listener is not None:
            administering = asyncio.create_task(self._admin.serve(sockets=[admin_listener]))
        await self._server.serve(sockets=[listener])
        if self._admin is not None and administering is not None:
            self._admin.should_exit = True
            await administering
        if self._failure is not None:
            raise self._failure
        return self._exit_code

    def stop(self) -> None:
        """End in order, as the first signal makes it."""
        self._server.should_exit = True

    def handle_signals(self) -> None:
        """Take SIGTERM and SIGINT from here on; on the running loop, in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal, number)

    async def _start_engines(self) -> None:
        started = time.monotonic()
        try:
            await asyncio.gather(*(engine.start() for engine in self._engines))
        except Exception as error:
            self._failure = error
            self.stop()
            return
        for engine in self._engines:
            try:
                capabilities = engine.capabilities()
            except ModelLoading:
                # Its first request loads it; or it could not be loaded, which takes no other down.
                health = engine.health()
                if health.state is HealthState.FAILED:
                    self._logger.error("not loaded", reason=health.detail)
                continue
            self._logger.info("loaded", model=capabilities.model, engine=capabilities.engine, **capabilities.details)
        self._logger.info("ready", seconds=round(time.monotonic() - started, 3))
        self._on_ready()

    async def _drain(self) -> None:
        self._admission.drain()
        self._logger.info("draining", under_way=self._admission.under_way, grace_period=self._http.grace_period)
        await self._wait_empty(self._http.grace_period)
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        for end in await asyncio.gather(*(engine.aclose() for engine in self._engines), return_exceptions=True):
            if isinstance(end, Exception):
                self._logger.error("an engine did not end in order", exc_info=end)
        await self._wait_empty(FLUSH_SECONDS)

    async def _wait_empty(self, seconds: float) -> None:
        """Wait until nothing is under way, the time is over or somebody is in a hurry."""
        waiting = [asyncio.create_task(self._admission.until_empty()), asyncio.create_task(self._hurry.wait())]
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    def _on_signal(self, number: signal.Signals) -> None:
        if not self._server.should_exit:
            self.stop()
            return
        self._exit_code = 128 + number
        self._hurry.set()
        self._server.force_exit = True
        for other in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(other)


def uvicorn_config(app: ASGIApp, http: HttpSettings) -> uvicorn.Config:
    """uvicorn, with our protocol in its place and without what it would log or add to answers."""
    protocol: Any = functools.partial(GuardedProtocol, http, getattr(app, "answer_at_once", None))
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=round(http.keep_alive),
        timeout_graceful_shutdown=FLUSH_SECONDS,
    )
