"""An engine's process's end of its connection to the server, for an engine that steps in a loop of its own."""

from __future__ import annotations

import select
import socket

from .messages import HEADER, FromEngine, ToEngine, decode_to_engine, frame


class Connection:
    """The engine's end of the socket pair. EOF means that the server has gone."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = bytearray()

    def send(self, message: FromEngine) -> None:
        """Blocks while the server does not read."""
        self._socket.sendall(frame(message))

    def receive(self, timeout: float) -> list[ToEngine]:
        """What has arrived within ``timeout`` seconds. Raises EOFError when the server's end is closed."""
        messages: list[ToEngine] = []
        while select.select([self._socket], [], [], 0 if messages else timeout)[0]:
            received = self._socket.recv(1 << 20)
            if not received:
                raise EOFError
            self._buffer += received
            messages += self._take_frames()
            timeout = 0
        return messages

    def _take_frames(self) -> list[ToEngine]:
        messages = []
        start = 0
        while len(self._buffer) - start >= HEADER.size:
            (length,) = HEADER.unpack_from(self._buffer, start)
            end = start + HEADER.size + length
            if len(self._buffer) < end:
                break
            messages.append(decode_to_engine(self._buffer[start + HEADER.size : end]))
            start = end
        del self._buffer[:start]
        return messages
