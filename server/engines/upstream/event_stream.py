"""Server-sent events as they arrive in pieces, within a bound."""

from __future__ import annotations


class EventTooLarge(Exception):
    """An event is over the bound."""


class EventParser:
    """Cuts a stream of bytes into the data of its events. Lines end in LF or CRLF; only ``data`` fields are kept.

    At most ``max_bytes`` of an event that is not whole yet are held.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        # The beginning of a line, in the pieces in which it came: joined once, however small they are.
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._num_bytes = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that are whole now. Raises EventTooLarge."""
        found: list[bytes] = []
        *lines, rest = piece.split(b"\n")
        for end in lines:
            self._hold(end)
            line = b"".join(self._line)
            self._line.clear()
            if line.startswith(b"data:"):
                self._data.append(line[5:].removesuffix(b"\r").removeprefix(b" "))
            elif line not in (b"", b"\r"):
                self._num_bytes -= len(line)
            else:
                if self._data:
                    found.append(b"\n".join(self._data))
                    self._data.clear()
                self._num_bytes = 0
        if rest:
            self._hold(rest)
        return found

    def _hold(self, part: bytes) -> None:
        self._num_bytes += len(part)
        if self._num_bytes > self._max_bytes:
            raise EventTooLarge
        self._line.append(part)
