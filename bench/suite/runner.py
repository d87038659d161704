"""Runs a suite's steps within its time, each as a process of its own, and keeps what they leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from pennyweight.bench.peers.base import Peer, PeerFailed
from pennyweight.bench.peers.process import end_with_parent, running
from pennyweight.bench.result import FILE as RESULT

from .record import Outcome, Record, State
from .step import OUT, URL, Step

# A step may take so many times its estimate, as long as there is time.
PATIENCE = 3.0
LOG = "log.txt"
STOP_SECONDS = 40.0
TAIL_BYTES = 4000
_FRAME = " ╭─╮│╰╯"


class Servers:
    """The server that the steps at hand want: one at a time, kept as long as they want the same."""

    def __init__(self) -> None:
        self._peer: Peer | None = None
        self._stack = AsyncExitStack()
        self._url = ""

    async def url(self, peer: Peer | None) -> str:
        """The address of a peer's server, "" for none; any other server is ended first. Raises PeerFailed."""
        if peer != self._peer:
            await self.aclose()
            if peer is not None:
                self._url = (await self._stack.enter_async_context(running(peer))).url
            self._peer = peer
        return self._url

    async def aclose(self) -> None:
        self._peer, self._url = None, ""
        # One that has died meanwhile has made its step fail already.
        with contextlib.suppress(PeerFailed):
            await self._stack.aclose()


async def run_steps(
    steps: Sequence[Step],
    record: Record,
    out: Path,
    seconds: float,
    on_change: Callable[[Step, Outcome | None], None],
) -> None:
    """Run what has no result yet, in order, for ``seconds`` at most. ``on_change`` is told of each beginning (None) and end.

    A step whose estimate is longer than the time that is left is not begun. A cancelled suite ends its step and its server.
    """
    deadline = time.monotonic() + seconds
    servers = Servers()
    try:
        for step in steps:
            if record.has_result(step.name):
                continue
            on_change(step, None)
            outcome = await _run(step, record, out, servers, deadline)
            record.outcomes[step.name] = outcome
            record.save(out)
            on_change(step, outcome)
    finally:
        await servers.aclose()


async def _run(step: Step, record: Record, out: Path, servers: Servers, deadline: float) -> Outcome:
    left = deadline - time.monotonic()
    if step.missing:
        return Outcome(name=step.name, state=State.MISSING, reason=step.missing)
    if absent := [name for name in step.needs if not record.has_result(name)]:
        return Outcome(name=step.name, state=State.MISSING, reason=f"it reads the results of {', '.join(absent)}")
    if step.seconds > left:
        return Outcome(
            name=step.name,
            state=State.LATE,
            reason=f"it takes about {step.seconds:.0f} s, and {max(0, left):.0f} were left",
        )
    began = time.monotonic()
    try:
        url = await servers.url(step.server)
    except PeerFailed as error:
        return Outcome(name=step.name, state=State.FAILED, seconds=time.monotonic() - began, reason=str(error))
    return await _run_command(step, out, url, began, min(left, PATIENCE * step.seconds))


async def _run_command(step: Step, out: Path, url: str, began: float, limit: float) -> Outcome:
    # What a killed step has left is not taken for a result.
    unfinished, finished = out / f"{step.name}.unfinished", out / step.name
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    arguments = [*step.arguments({URL: url, OUT: str(out)}), "--out", str(unfinished)]
    with (unfinished / LOG).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pennyweight.server.cli", "bench", *arguments),
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=end_with_parent,
            # So wide that its last words are seldom broken in two.
            env=os.environ | {"COLUMNS": "240"},
        )
        try:
            async with asyncio.timeout(limit):
                code = await process.wait()
        except TimeoutError:
            code = None
        finally:
            await _end(process)
    seconds = time.monotonic() - began
    if not (unfinished / RESULT).exists():
        reason = f"it was not over within {seconds:.0f} s" if code is None else _tail(unfinished / LOG)
        state = State.LATE if code is None else State.FAILED
        return Outcome(name=step.name, state=state, seconds=seconds, reason=reason)
    shutil.rmtree(finished, ignore_errors=True)
    os.replace(unfinished, finished)
    state = State.DONE if code == 0 else State.INVALID
    return Outcome(name=step.name, state=state, seconds=seconds)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a step as its users do, so that it ends what it has started, and after a while by force."""
    if process.returncode is not None:
        return
    process.terminate()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _tail(log: Path) -> str:
    """The last words of a step, without the frame around what is said of a wrong command line."""
    lines = log.read_bytes()[-TAIL_BYTES:].decode(errors="replace").splitlines()
    unframed = "\n".join(line.strip(_FRAME) if line.startswith(("╭", "│", "╰")) else line for line in lines)
    return unframed.strip() or "it ended without a word"
