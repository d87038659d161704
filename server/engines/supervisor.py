"""Keeps an engine's child process alive: starts it, reads from it, notices its death or hang, starts it again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .base import Health, HealthState
from .frames import FrameBuffer

FIRST_BACKOFF_SECONDS = 0.25
LAST_BACKOFF_SECONDS = 30.0
WATCH_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How long a child may take, in seconds: to become ready, and without a sign of life while it has work."""

    start_timeout: float = 600.0
    stall_seconds: float = 30.0


class _Child(asyncio.Protocol):
    """One run of the process, and the event loop's end of its socket.

    Frames are read and written by the loop itself: a thread beside it would have to wake it for each, and take turns with it at
    running Python.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_frame: Callable[[bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [*command[:-1], str(theirs.fileno()), command[-1]],
                pass_fds=[theirs.fileno()],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                # Ctrl-C in a terminal is the server's to handle. Not a session of its own, for where the kernel shares the
                # processor out by sessions first, no thread of the server could then give way to the engine's.
                process_group=0,
            )
        self._socket = ours
        self._on_frame = on_frame
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._frames = FrameBuffer()
        self.started = self.last_frame = time.monotonic()
        self.is_ready = False

    async def connect(self) -> None:
        """Begin to read; not before the owner knows the child, for its first frame may come at once."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.connect_accepted_socket(lambda: self, self._socket)

    def data_received(self, data: bytes) -> None:
        for body in self._frames.add(data):
            self.last_frame = time.monotonic()
            self._on_frame(body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end()

    def send(self, frame: bytes) -> None:
        """What the process does not read at once is kept here."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def close(self) -> str:
        """Wait for the end of the process, which must be dying; returns how it ended."""
        if self._transport is None:
            self._socket.close()
        else:
            self._transport.abort()
        code = await asyncio.to_thread(self.process.wait)
        return f"ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


class Supervisor:
    """Runs ``command`` as long as it is wanted, and exchanges frames with it.

    The command is run with the number of its socket put before its last argument, and with ``environment`` added to this
    process's own. ``on_frame`` is called for each frame; it calls ``mark_ready`` or ``mark_failed`` when the child says so.
    ``on_down`` is called each time a child has ended, with the reason in words; ``is_busy`` tells whether work is under way.

    A child that ends after it was ready is started again after FIRST_BACKOFF_SECONDS; one that ends before, after twice as
    long each time, up to LAST_BACKOFF_SECONDS. Everything is called on the event loop, and belongs there.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        watch: Watch,
        environment: Mapping[str, str] | None = None,
        on_frame: Callable[[bytes], None],
        on_down: Callable[[str], None],
        is_busy: Callable[[], bool],
    ) -> None:
        self._command = command
        self._environment = environment or {}
        self._watch = watch
        self._on_frame = on_frame
        self._on_down = on_down
        self._is_busy = is_busy
        self._child: _Child | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._health = Health(state=HealthState.UNLOADED, detail="not loaded")
        # How often a child was started again that nobody had stopped, and whether one was ready since ``start``.
        self.restarts = 0
        self.was_ready = False

    @property
    def health(self) -> Health:
        child = self._child
        if self._health.state is HealthState.READY and child is not None and self._silence(child) > 0:
            return Health(state=HealthState.STALLED, detail=f"no sign of life for {self._silence(child):.0f} s")
        return self._health

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is one."""
        return self._child.process.pid if self._child is not None else None

    def start(self) -> None:
        """Begin to run the child, in a task of its own; also again after ``stop``."""
        self._set(HealthState.LOADING)
        self.was_ready = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def until_ready(self) -> Health:
        """Wait until the child is ready or has failed for good."""
        while self._health.state not in (HealthState.READY, HealthState.FAILED):
            self._changed.clear()
            await self._changed.wait()
        return self._health

    def send(self, frame: bytes) -> None:
        """Hand a frame to the child. It is lost when the child ends, as ``on_down`` then tells."""
        if self._child is not None:
            self._child.send(frame)

    def mark_ready(self) -> None:
        """From ``on_frame``: the child takes work now."""
        if self._child is None:
            return  # it was stopped meanwhile
        self._child.is_ready = self.was_ready = True
        self._set(HealthState.READY)

    def mark_failed(self, detail: str) -> None:
        """From ``on_frame``: the child can't run, and starting it again would not help."""
        self._set(HealthState.FAILED, detail)

    async def stop(self) -> None:
        """End the child and don't start it again."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            if self._health.state is not HealthState.FAILED:
                self._health = Health(state=HealthState.UNLOADED, detail="not loaded")

    async def _run(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            reason, was_ready = await self._run_child()
            if self._health.state is HealthState.FAILED:
                self._on_down(self._health.detail)
                return
            backoff = FIRST_BACKOFF_SECONDS if was_ready else min(backoff * 2, LAST_BACKOFF_SECONDS)
            self._set(HealthState.RESTARTING, f"the engine's process {reason}; starting again in {backoff:g} s")
            self._on_down(reason)
            await asyncio.sleep(backoff)
            self.restarts += 1

    async def _run_child(self) -> tuple[str, bool]:
        ended = asyncio.Event()
        child = self._child = _Child(self._command, self._environment, self._on_frame, ended.set)
        hung = ""
        try:
            await child.connect()
            while not ended.is_set() and not hung:
                # Not wait_for, which in Python 3.11 forgets that it was cancelled when the event comes at the same time.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WATCH_SECONDS):
                        await ended.wait()
                if not ended.is_set():
                    hung = self._hang(child)
        finally:
            self._child = None
            child.kill()
            how = await asyncio.shield(child.close())
        return hung or how, child.is_ready

    def _silence(self, child: _Child) -> float:
        """Seconds by which a child with work has been silent for too long; 0 when all is well."""
        silent = time.monotonic() - child.last_frame
        return silent if self._is_busy() and silent > self._watch.stall_seconds else 0.0

    def _hang(self, child: _Child) -> str:
        if not child.is_ready:
            waited = time.monotonic() - child.started
            return f"was not ready within {waited:.0f} s" if waited > self._watch.start_timeout else ""
        return f"gave no sign of life for {self._silence(child):.0f} s" if self._silence(child) else ""

    def _set(self, state: HealthState, detail: str = "") -> None:
        self._health = Health(state=state, detail=detail)
        self._changed.set()
