"""Frames, as processes on one machine send them to each other over a socket: a 4-byte little-endian length and a body."""

from __future__ import annotations

import struct

HEADER = struct.Struct("<I")


def pack_frame(body: bytes) -> bytes:
    """A body as it goes over the socket."""
    return HEADER.pack(len(body)) + body


class FrameBuffer:
    """What has been received of frames that are not whole yet."""

    def __init__(self) -> None:
        self._received = bytearray()

    def add(self, data: bytes) -> list[bytes]:
        """The bodies that are whole now, in their order."""
        received = self._received
        received += data
        bodies: list[bytes] = []
        start = 0
        while len(received) - start >= HEADER.size:
            (length,) = HEADER.unpack_from(received, start)
            begin, end = start + HEADER.size, start + HEADER.size + length
            if len(received) < end:
                break
            bodies.append(bytes(memoryview(received)[begin:end]))
            start = end
        del received[:start]
        return bodies
