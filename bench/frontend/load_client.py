"""The load: a process of its own that keeps so many connections busy and costs as little as it can.

``python -m pennyweight.bench.frontend.load_client JSON`` (a ``Load``) writes ``begin`` and ``end`` when the measured time does, so that the
server's processor time can be read at both, and then a ``Report`` as JSON. Answers are not parsed, only their ends found and
their events counted; one answer of each kind is read whole beforehand by ``probe``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import sys
import time
from typing import cast

import msgspec
import numpy as np
import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"
_EVENT = b"data: "
CONNECT_SECONDS = 30.0
PLACE = b"#number##"
# A slow server is measured for longer, until it has given as many answers as there are connections; for so long at most.
MOST_SECONDS = 30.0


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """A closed loop on ``connections``, each of which sends its next request when its last answer has ended.

    ``warm_up`` and ``seconds`` are the times before and while it is measured; the latter is the least. What a body has of ``PLACE`` is a
    number in each request, another one in each.
    """

    port: int
    path: str
    body: str
    connections: int
    warm_up: float
    seconds: float

    def request(self) -> bytes:
        """The bytes of a request."""
        body = self.body.encode()
        return (
            b"POST %b HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (self.path.encode(), self.port, len(body), body)
        )


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came in the measured time: answers that ended, events of streams, and seconds from a request to its answer's end
    (None where none ended).

    ``busy`` is the share of a core that the client took; ``failed`` counts answers with another status than 200 and
    connections that were lost, at any time.
    """

    seconds: float
    answers: int
    events: int
    latency_p50: float | None
    latency_p99: float | None
    busy: float
    failed: int


class _Totals:
    """What all connections count together, and the number of the last request."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self.number = 0
        self.are_enough = asyncio.Event()
        self.is_measured = False
        self.is_over = False
        self.answers = self.events = self.failed = 0
        self.latencies: list[float] = []

    def count(self, seconds: float) -> None:
        """An answer that ended so long after its request."""
        self.answers += 1
        self.latencies.append(seconds)
        if self.answers >= self._wanted:
            self.are_enough.set()


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, request: bytes, totals: _Totals) -> None:
        self._before, self._place, self._after = request.partition(PLACE)
        self._totals = totals
        self._transport: asyncio.WriteTransport
        self._sent = 0.0
        # Of the answer under way: its beginning until its header is whole, then what is still to come of a body of known
        # length (None in a chunked one), and its last bytes.
        self._header: bytes | None = b""
        self._left: int | None = None
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._totals.is_over:
            self._totals.failed += 1

    def data_received(self, data: bytes) -> None:
        if self._header is not None:
            self._header += data
            end = self._header.find(b"\r\n\r\n")
            if end < 0:
                return
            header, data = self._header[: end + 2], self._header[end + 4 :]
            self._header, self._tail = None, b""
            if not header.startswith(b"HTTP/1.1 200"):
                self._totals.failed += 1
            length = _LENGTH.search(header)
            self._left = int(length[1]) if length else None
        if self._left is not None:
            self._left -= len(data)
            if self._left <= 0:
                self._end()
            return
        seen = self._tail + data
        if self._totals.is_measured:
            self._totals.events += seen.count(_EVENT)
        # One byte less than an event's mark, so that none is counted twice, and all of a last chunk.
        self._tail = seen[-5:]
        if self._tail == _LAST_CHUNK:
            self._end()

    def _send(self) -> None:
        self._header = b""
        self._sent = time.perf_counter()
        if self._place:
            self._totals.number += 1
            self._transport.write(self._before + b"%0*d" % (len(PLACE), self._totals.number) + self._after)
        else:
            self._transport.write(self._before)

    def _end(self) -> None:
        if self._totals.is_measured:
            self._totals.count(time.perf_counter() - self._sent)
        if not self._totals.is_over:
            self._send()


async def run(load: Load) -> Report:
    """Put the load on. Raises OSError where nothing listens."""
    totals, request = _Totals(load.connections), load.request()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS):
        for _ in range(load.connections):
            await loop.create_connection(lambda: _Client(request, totals), "127.0.0.1", load.port)
    await asyncio.sleep(load.warm_up)
    print("begin", flush=True)
    began, busy = time.perf_counter(), time.process_time()
    totals.is_measured = True
    await asyncio.sleep(load.seconds)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(MOST_SECONDS - load.seconds):
            await totals.are_enough.wait()
    totals.is_measured, totals.is_over = False, True
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    print("end", flush=True)
    return Report(
        seconds=seconds,
        answers=totals.answers,
        events=totals.events,
        latency_p50=float(np.percentile(totals.latencies, 50)) if totals.latencies else None,
        latency_p99=float(np.percentile(totals.latencies, 99)) if totals.latencies else None,
        busy=busy / seconds,
        failed=totals.failed,
    )


def main() -> None:
    """Read the load from the command line and write its report."""
    load = msgspec.json.decode(sys.argv[1], type=Load)
    gc.disable()
    print(msgspec.json.encode(uvloop.run(run(load))).decode(), flush=True)


if __name__ == "__main__":
    main()
