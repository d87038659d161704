"""``pennyweight chat`` at a terminal: its commands, and what Ctrl-C stops."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

from fakes.live_server import LiveEngine, LiveServer, live_server
from fakes.scripted_engine import Step, says

from pennyweight.server.errors import EngineFailed

CTRL_C, CTRL_D = b"\x03", b"\x04"


class Terminal:
    """A program's end of a terminal."""

    def __init__(self, master: int, process: asyncio.subprocess.Process) -> None:
        self._master = master
        self._seen = ""
        self.process = process

    def type(self, text: bytes) -> None:
        os.write(self._master, text)

    async def see(self, text: str) -> str:
        """Read until ``text`` is shown; returns what was shown since the last time, with it."""
        async with asyncio.timeout(30):
            while text not in self._seen:
                self._seen += (await asyncio.to_thread(os.read, self._master, 4096)).decode()
        before, _, self._seen = self._seen.partition(text)
        return before + text


@asynccontextmanager
async def conversation(server: LiveServer) -> AsyncIterator[Terminal]:
    master, slave = pty.openpty()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PENNYWEIGHT_", "OPENAI_"))
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _IN_A_SESSION, "-m", "pennyweight.server.cli", "chat", "--url", server.url),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env=environment | {"TERM": "dumb", "COLUMNS": "200", "NO_COLOR": "1"},
    )
    os.close(slave)
    try:
        terminal = Terminal(master, process)
        await terminal.see("> ")
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(master)


# Ctrl-C goes to the group in the foreground of a process's own terminal, so it must first become that.
_IN_A_SESSION = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"


async def test_commands_at_a_terminal() -> None:
    async with live_server() as server, conversation(server) as terminal:
        terminal.type(b"/help\n")
        await terminal.see("/reset forgets")
        terminal.type(b"/sing\n")
        await terminal.see("there is no command /sing")
        terminal.type(b"Hi\n")
        await terminal.see("Hello world")
        await terminal.see("tokens/s")
        terminal.type(b"/exit\n")
        async with asyncio.timeout(20):
            assert await terminal.process.wait() == 0


async def test_ctrl_c_stops_the_answer_and_not_the_program() -> None:
    never = asyncio.Event()
    unfinished: list[Step] = [says("Once upon")[0], never]
    scripts: Iterator[Sequence[Step]] = iter([unfinished, says("Hello", " again")])
    engine = LiveEngine(script=lambda request: next(scripts))
    async with live_server(engine) as server, conversation(server) as terminal:
        terminal.type(b"Hi\n")
        await terminal.see("Once upon")
        terminal.type(CTRL_C)
        assert "tokens/s" not in await terminal.see("> ")
        terminal.type(b"And now?\n")
        await terminal.see("Hello again")
        await terminal.see("tokens/s")
        assert engine.left[0].closed


async def test_an_error_with_brackets_is_shown_as_it_is() -> None:
    engine = LiveEngine(refusal=lambda request: EngineFailed("No [/end] of [bold] it."))
    async with live_server(engine) as server, conversation(server) as terminal:
        terminal.type(b"Hi\n")
        await terminal.see("No [/end] of [bold] it.")
        terminal.type(CTRL_D)
        async with asyncio.timeout(20):
            assert await terminal.process.wait() == 0
