"""The helper process of ConstraintGuard: forks a child for each check, so that the tokenizer is built only once.

Run as ``python -m pennyweight.server.engines.local.constraint_guard_worker FD``. The process has one thread, which makes
the forks safe. It ends, with all children, when the other end of its socket is closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import msgspec

from pennyweight.server.engines.frames import HEADER, pack_frame
from pennyweight.server.errors import InvalidConstraint
from pennyweight.server.types import Constraint

if TYPE_CHECKING:
    from .grammar import GrammarCompiler

PR_SET_PDEATHSIG = 1
# Compiling takes what others leave: with this it gets a tenth of what they get on a core that they all want.
NICENESS = 10
# What a child may allocate beyond what the helper has. Schemas of 64 KiB stay far below.
MEMORY_BYTES = 1 << 30


class Preload(msgspec.Struct, frozen=True, array_like=True, tag="preload"):
    """The first frame: the tokenizer. Answered by Preloaded."""

    tokenizer_json: str


class Check(msgspec.Struct, frozen=True, array_like=True, tag="check"):
    """Compile a constraint, in no more than ``cpu_seconds``. Answered by one Checked, even when cancelled."""

    id: int
    constraint: Constraint
    cpu_seconds: int


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """Kill the child of a check."""

    id: int


class Preloaded(msgspec.Struct, frozen=True, array_like=True, tag="preloaded"):
    """Checks are taken from now on."""


class Checked(msgspec.Struct, frozen=True, array_like=True, tag="checked"):
    """How a check ended. ``exit_code`` is negative for a signal; with 0, ``error`` is None for a good constraint."""

    id: int
    exit_code: int
    error: str | None = None


ToWorker = Preload | Check | Cancel
FromWorker = Preloaded | Checked

decode_to_worker: Callable[[bytes], ToWorker] = msgspec.msgpack.Decoder(ToWorker).decode
decode_from_worker: Callable[[bytes], FromWorker] = msgspec.msgpack.Decoder(FromWorker).decode


def frame(message: ToWorker | FromWorker) -> bytes:
    """A message as it goes over the socket."""
    return pack_frame(msgspec.msgpack.encode(message))


class _Child:
    """A forked process that compiles one constraint, and the pipe on which it tells the error."""

    def __init__(self, check: Check, pid: int, pipe: int) -> None:
        self.check = check
        self.pid = pid
        self.pipe = pipe
        self.answer = bytearray()

    def finish(self) -> Checked:
        """Wait for the end, which the closed pipe says is near."""
        os.close(self.pipe)
        _, status = os.waitpid(self.pid, 0)
        return Checked(self.check.id, os.waitstatus_to_exitcode(status), self.answer.decode() or None)


class Worker:
    """The helper's loop."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._compiler: GrammarCompiler | None = None
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until the other end is closed."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._socket:
                    try:
                        self._take(self._receive())
                    except EOFError:
                        self._kill_all()
                        return
                else:
                    self._read(key.data)

    def _receive(self) -> ToWorker:
        # Frames are small and their sender is ours: once one has begun, the rest follows at once.
        (length,) = HEADER.unpack(self._exactly(HEADER.size))
        return decode_to_worker(self._exactly(length))

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self._socket.recv(size - len(parts))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    def _take(self, message: ToWorker) -> None:
        if isinstance(message, Preload):
            from .grammar import GrammarCompiler

            self._compiler = GrammarCompiler(lambda: message.tokenizer_json, None, ())
            self._compiler.preload()
            # Children share these pages as long as nobody writes to them, the collector's marks included.
            gc.collect()
            gc.freeze()
            self._socket.sendall(frame(Preloaded()))
        elif isinstance(message, Check):
            self._fork(message)
        elif (child := self._children.get(message.id)) is not None:
            os.kill(child.pid, signal.SIGKILL)

    def _fork(self, check: Check) -> None:
        reader, writer = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._be_child(check, writer, parent)
        os.close(writer)
        child = self._children[check.id] = _Child(check, pid, reader)
        self._selector.register(reader, selectors.EVENT_READ, child)

    def _be_child(self, check: Check, writer: int, parent: int) -> NoReturn:
        exit_code = 1
        try:
            self._socket.close()
            _confine(check.cpu_seconds, parent)
            assert self._compiler is not None, "Preload is the first message"
            try:
                self._compiler.probe(check.constraint)
            except InvalidConstraint as error:
                os.write(writer, error.message.encode())
            exit_code = 0
        finally:
            # The loop above is the parent's: nothing may return or unwind into it.
            os._exit(exit_code)

    def _read(self, child: _Child) -> None:
        if part := os.read(child.pipe, 1 << 16):
            child.answer += part
            return
        self._selector.unregister(child.pipe)
        del self._children[child.check.id]
        self._socket.sendall(frame(child.finish()))

    def _kill_all(self) -> None:
        for child in self._children.values():
            os.kill(child.pid, signal.SIGKILL)
            child.finish()


def _confine(cpu_seconds: int, parent: int) -> None:
    """Limit this process: its time, its memory, and its life to its parent's."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/statm", "rb") as statm:
        current = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (current + MEMORY_BYTES, current + MEMORY_BYTES))
    # Should memory run out all the same, this is the process to lose.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    # An allocation that fails aborts with a line on stderr, which is no news: the check's answer tells it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _give_way() -> None:
    """Lower the priority of this process and all that it forks."""
    os.nice(NICENESS)
    # Where the kernel groups processes by session, a nice value counts inside its group alone; the group has one too.
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as group:
        group.write(str(NICENESS))


def main() -> None:
    _give_way()
    # Ctrl-C in a terminal is the server's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        Worker(sock).run()


if __name__ == "__main__":
    main()
