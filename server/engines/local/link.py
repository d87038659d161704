"""An engine's process's end of its connection to the server, for an engine that lives on an event loop."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import socket
import threading
from collections.abc import Callable

from pennyweight.server.engines.frames import HEADER

from .messages import FromEngine, ToEngine, decode_to_engine, frame


class Link:
    """Reads in a thread of its own from the beginning, so that the server's end is noticed while a model is being loaded.

    When the server has gone, this process and all that it has started end at once.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        # What a library starts may outlive this process, and would keep the server from seeing its end.
        sock.set_inheritable(False)
        self._waiting: list[ToEngine] = []
        self._lock = threading.Lock()
        self._take: Callable[[ToEngine], None] | None = None
        threading.Thread(target=self._read, name="server-reader", daemon=True).start()

    def send(self, message: FromEngine) -> None:
        """Blocks while the server does not read."""
        self._socket.sendall(frame(message))

    def deliver_to(self, take: Callable[[ToEngine], None]) -> None:
        """Have every message given to ``take`` on the running event loop, those first that have come already."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._take = functools.partial(_hand_over, loop, take)
            for message in self._waiting:
                take(message)
            self._waiting.clear()

    def _read(self) -> None:
        try:
            with self._socket.makefile("rb") as stream:
                while len(header := stream.read(HEADER.size)) == HEADER.size:
                    (length,) = HEADER.unpack(header)
                    message = decode_to_engine(stream.read(length))
                    with self._lock:
                        if self._take is None:
                            self._waiting.append(message)
                        else:
                            self._take(message)
        finally:
            os.killpg(0, signal.SIGKILL)


def _hand_over(loop: asyncio.AbstractEventLoop, take: Callable[[ToEngine], None], message: ToEngine) -> None:
    loop.call_soon_threadsafe(take, message)
