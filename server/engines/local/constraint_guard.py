"""Compiles constraints where they can do no harm, before an engine is asked to.

A regex or schema of a few bytes can take minutes and gigabytes to compile, and nothing but the end of its process stops
that. So each is first compiled in a process of its own, with limits on time and memory. The engine compiles only what
has passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from pennyweight.server.engines.frames import HEADER
from pennyweight.server.errors import EngineFailed, InvalidConstraint, Overloaded, ShuttingDown
from pennyweight.server.types import Constraint

from .constraint_guard_worker import (
    Cancel,
    Check,
    Checked,
    Preload,
    ToWorker,
    decode_from_worker,
    frame,
)

MAX_CHECKS = 4
START_SECONDS = 60.0
# A verdict is a digest and a short message: a few hundred bytes.
MAX_VERDICTS = 4096
# The helper gives way to the engine: on a busy machine its seconds of CPU time, which are what is limited, take longer by the clock.
PATIENCE = 4
# A deadline passed may have been the machine's fault: it is believed for so long, in seconds.
TIMEOUT_VERDICT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is known of a constraint: the message why it is refused or None, until a time of ``time.monotonic()``."""

    message: str | None
    until: float = math.inf


class _Helper:
    """The helper process and the checks that it has under way."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "pennyweight.server.engines.local.constraint_guard_worker",
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                # It forks, and so must have no threads; numpy's would be started at import.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            )
        self._socket = ours
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._preloaded = asyncio.get_running_loop().create_future()
        self._checks: dict[int, asyncio.Future[Checked]] = {}
        self._ids = itertools.count()

    @property
    def is_alive(self) -> bool:
        return self._reading is not None and not self._reading.done()

    async def start(self, tokenizer_json: str) -> None:
        """Return when checks are taken. Raises EngineFailed when the helper ends instead, or takes too long."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        self._reading = asyncio.create_task(self._read(reader), name="constraint-guard")
        self._send(Preload(tokenizer_json))
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._preloaded
        except TimeoutError:
            raise EngineFailed(f"Constraints can't be checked: their helper took over {START_SECONDS:.0f} s.") from None

    async def check(self, constraint: Constraint, deadline_seconds: float) -> Checked:
        """Compile in a child. Raises TimeoutError, with the child killed, which cancelling does too."""
        check_id = next(self._ids)
        future: asyncio.Future[Checked] = asyncio.get_running_loop().create_future()
        self._checks[check_id] = future
        self._send(Check(check_id, constraint, math.ceil(deadline_seconds)))
        try:
            async with asyncio.timeout(deadline_seconds * PATIENCE):
                return await future
        finally:
            del self._checks[check_id]
            if not future.done() or future.cancelled():
                self._send(Cancel(check_id))

    async def aclose(self) -> None:
        """Kill the helper, which takes its children with it, and wait for its end."""
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        else:
            self._socket.close()
        if self._reading is not None:
            await self._reading
        # The closed socket tells it to end its children and itself. Should it not listen, they die by its death.
        try:
            await asyncio.to_thread(self.process.wait, 1.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)

    def _send(self, message: ToWorker) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame(message))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
                message = decode_from_worker(await reader.readexactly(length))
                if not isinstance(message, Checked):
                    self._preloaded.set_result(None)
                elif (future := self._checks.get(message.id)) is not None and not future.done():
                    future.set_result(message)
        except (OSError, asyncio.IncompleteReadError):
            for future in (self._preloaded, *self._checks.values()):
                if not future.done():
                    future.set_exception(EngineFailed("The helper that checks constraints ended."))
                    future.exception()  # nobody may be waiting any more


class ConstraintGuard:
    """Answers whether a constraint compiles. Belongs to one event loop.

    ``to_json`` gives the tokenizer as the text of a tokenizer.json; the helper process that needs it is started by the
    first check. ``deadline_seconds`` is the CPU time that compiling one constraint may take.
    """

    def __init__(self, to_json: Callable[[], str], *, deadline_seconds: float) -> None:
        self._to_json = to_json
        self._deadline_seconds = deadline_seconds
        self._helper: _Helper | None = None
        self._starting = asyncio.Lock()
        self._slots = asyncio.Semaphore(MAX_CHECKS)
        self._verdicts: OrderedDict[bytes, _Verdict] = OrderedDict()
        # Set when the compilation of the constraint with that key has ended, whatever came of it.
        self._under_way: dict[bytes, asyncio.Event] = {}
        self._closed = False

    @property
    def num_checks(self) -> int:
        """How many constraints are being compiled, or wait to be."""
        return len(self._under_way)

    async def check(self, constraint: Constraint) -> None:
        """Return when the constraint is good. Who asks for one that is being compiled waits for that.

        Cancelling ends the compilation at once, which is then begun again for those who wait for it too.

        Raises InvalidConstraint when it doesn't compile, or not within the deadline or the memory; Overloaded when all
        slots stay taken for PATIENCE times the deadline; EngineFailed when the helper can't work; ShuttingDown after ``aclose``.
        """
        # The parameter is part of the message.
        key = hashlib.sha256("\0".join((constraint.kind, constraint.param, constraint.value)).encode()).digest()
        while (verdict := self._known(key)) is None:
            if (others := self._under_way.get(key)) is not None:
                await others.wait()
                continue
            ended = self._under_way[key] = asyncio.Event()
            try:
                # Before a slot is waited for: at its first use the helper takes seconds to start, which is nobody's fault.
                await self._started()
                async with self._slot():
                    verdict = await self._find(key, constraint)
                break
            finally:
                del self._under_way[key]
                ended.set()
        if verdict.message is not None:
            raise InvalidConstraint(verdict.message, param=constraint.param)

    async def aclose(self) -> None:
        """End the helper and everything that it compiles; checks under way end with EngineFailed."""
        self._closed = True
        async with self._starting:
            if self._helper is not None:
                await self._helper.aclose()
                self._helper = None

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._deadline_seconds * PATIENCE):
                await self._slots.acquire()
        except TimeoutError:
            raise Overloaded(
                "Too many structured outputs are being compiled; try again later.", retry_after=self._deadline_seconds
            ) from None
        try:
            yield
        finally:
            self._slots.release()

    def _known(self, key: bytes) -> _Verdict | None:
        verdict = self._verdicts.get(key)
        if verdict is None or verdict.until < time.monotonic():
            return None
        self._verdicts.move_to_end(key)
        return verdict

    async def _find(self, key: bytes, constraint: Constraint) -> _Verdict:
        helper = await self._started()
        try:
            verdict = _judge(constraint, await helper.check(constraint, self._deadline_seconds), self._deadline_seconds)
        except TimeoutError:
            verdict = _Verdict(
                _too_slow(constraint, self._deadline_seconds), time.monotonic() + TIMEOUT_VERDICT_SECONDS
            )
        self._verdicts[key] = verdict
        self._verdicts.move_to_end(key)
        if len(self._verdicts) > MAX_VERDICTS:
            self._verdicts.popitem(last=False)
        return verdict

    async def _started(self) -> _Helper:
        async with self._starting:
            if self._closed:
                raise ShuttingDown("The server is stopping.")
            if self._helper is not None and not self._helper.is_alive:
                await self._helper.aclose()
                self._helper = None
            if self._helper is None:
                tokenizer_json = await asyncio.to_thread(self._to_json)
                helper = _Helper()
                try:
                    await helper.start(tokenizer_json)
                except BaseException:
                    await helper.aclose()
                    raise
                self._helper = helper
            return self._helper


def _too_slow(constraint: Constraint, seconds: float) -> str:
    return f"Invalid '{constraint.param}': it takes more than {seconds:g} seconds to compile."


def _judge(constraint: Constraint, checked: Checked, deadline_seconds: float) -> _Verdict:
    match checked.exit_code:
        case 0:
            return _Verdict(checked.error)
        case code if code in (-signal.SIGABRT, -signal.SIGSEGV):
            # An allocation beyond the limit aborts; a recursion beyond the stack is a fault.
            return _Verdict(f"Invalid '{constraint.param}': it takes too much memory to compile.")
        case code if code == -signal.SIGXCPU:
            return _Verdict(_too_slow(constraint, deadline_seconds))
        case code if code == -signal.SIGKILL:
            return _Verdict(f"Invalid '{constraint.param}': it takes too much time or memory to compile.")
        case code:
            raise EngineFailed(f"Compiling the constraint ended with exit code {code}.")
