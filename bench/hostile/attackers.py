"""Hostile clients in a process of their own, of a low priority, so that making and sending attacks takes little from the server."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from urllib.parse import urlsplit

from .client import complaint, send
from .requests import Attack, attacks

NICENESS = 10
END_SECONDS = 10.0


class Attackers:
    """Use as a context manager. A run is ``prepare``, which makes the attacks, then ``start``, then ``finish``."""

    def __init__(self, url: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, self._theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(self._theirs, url), daemon=True)

    def __enter__(self) -> Attackers:
        self._process.start()
        self._theirs.close()  # so that the end of the process is an EOFError here, not a wait without end
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send(None)
        self._process.join(END_SECONDS)
        self._process.kill()

    async def prepare(self, model: str, kinds: Sequence[str], count: int, seed: int) -> None:
        """Make so many attacks, of all kinds in turn; returns when they are there."""
        self._pipe.send((model, kinds, count, seed))
        await asyncio.to_thread(self._pipe.recv)

    def start(self, rate: float) -> None:
        """Begin to send what was prepared, so many a second."""
        self._pipe.send(rate)

    async def finish(self) -> tuple[list[str], int]:
        """What was wrong with the answers, and how many attacks were sent, once all are answered."""
        found: tuple[list[str], int] = await asyncio.to_thread(self._pipe.recv)
        return found


def _run(pipe: Connection, url: str) -> None:
    os.nice(NICENESS)
    while (wanted := pipe.recv()) is not None:
        model, kinds, count, seed = wanted
        each = -(-count // len(kinds))
        waiting = attacks(model, each=each, seed=seed, kinds=kinds)[:count]
        pipe.send(len(waiting))
        pipe.send(asyncio.run(_attack(url, waiting, pipe.recv())))


async def _attack(url: str, waiting: Sequence[Attack], rate: float) -> tuple[list[str], int]:
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    began = time.perf_counter()
    sending = []
    for place, one in enumerate(waiting):
        await asyncio.sleep(max(0.0, began + place / rate - time.perf_counter()))
        sending.append(asyncio.create_task(send(one, host, port)))
    replies = await asyncio.gather(*sending)
    found = (complaint(one, reply) for one, reply in zip(waiting, replies, strict=True))
    return [text for text in found if text is not None], len(waiting)
