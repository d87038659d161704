"""An engine's process's end of its connection to the server, for an engine that steps in a loop of its own."""

from __future__ import annotations

import select
import socket
import threading

from pennyweight.server.engines.frames import FrameBuffer

from .messages import FromEngine, ToEngine, decode_to_engine, frame


class Connection:
    """The engine's end of the socket pair. EOF means that the server has gone."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._frames = FrameBuffer()
        self._sending = threading.Lock()

    def send(self, message: FromEngine) -> None:
        """Blocks while the server does not read. Any thread may send."""
        with self._sending:
            self._socket.sendall(frame(message))

    def receive(self, timeout: float) -> list[ToEngine]:
        """What has arrived within ``timeout`` seconds. Raises EOFError when the server's end is closed."""
        messages: list[ToEngine] = []
        while select.select([self._socket], [], [], 0 if messages else timeout)[0]:
            received = self._socket.recv(1 << 20)
            if not received:
                raise EOFError
            messages += map(decode_to_engine, self._frames.add(received))
            timeout = 0
        return messages
