"""Sends one request and notes what was read when; whatever goes wrong has a name and is no exception."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from .answer import MESSAGE_LENGTH
from .endpoint import Endpoint

# One request that takes longer than that has met a server that hangs.
REQUEST_SECONDS = 600.0
CONNECT_SECONDS = 30.0


@dataclass(slots=True)
class Exchange:
    """A request's fate: times on time.perf_counter()'s clock; ``error`` is its kind: ``timeout``, ``connect``, ``reset``
    (the connection broke), ``http_429``, ``http_4xx``, ``http_5xx`` or ``http_3xx``.
    """

    sent: float
    ended: float = 0.0
    status: int | None = None
    reads: list[tuple[float, bytes]] = field(default_factory=list)
    events: int = 0
    error: str | None = None
    message: str | None = None

    @property
    def data(self) -> bytes:
        return b"".join(chunk for _, chunk in self.reads)


class Transport:
    """The connections of one client process to an endpoint; made by ``connected``."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: Endpoint) -> None:
        self._session = session
        self._url = f"{endpoint.url}{endpoint.path}"
        self.events = 0  # that have been read so far, over all requests

    async def exchange(self, body: bytes) -> Exchange:
        """Send a body and read the answer to its end. Never raises but when cancelled."""
        found = Exchange(time.perf_counter())
        try:
            async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                found.status = response.status
                async for chunk in response.content.iter_any():
                    found.reads.append((time.perf_counter(), chunk))
                    self.events += chunk.count(b"data:")
        except TimeoutError as error:
            found.error, found.message = "timeout", str(error)[:MESSAGE_LENGTH] or "no answer in time"
        except aiohttp.ClientConnectorError as error:
            found.error, found.message = "connect", str(error)[:MESSAGE_LENGTH]
        except (aiohttp.ClientError, OSError) as error:
            found.error, found.message = "reset", repr(error)[:MESSAGE_LENGTH]
        found.ended = time.perf_counter()
        if found.error is None and found.status != 200:
            found.error = _status_kind(found.status or 0)
            found.message = found.data[:MESSAGE_LENGTH].decode(errors="replace")
        return found


@asynccontextmanager
async def connected(endpoint: Endpoint, request_seconds: float) -> AsyncIterator[Transport]:
    """Connections without a limit on their number; each request may take ``request_seconds``."""
    connector = aiohttp.TCPConnector(limit=0, force_close=not endpoint.keep_alive)
    headers = {"content-type": "application/json", **endpoint.headers}
    async with aiohttp.ClientSession(
        connector=connector,
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=request_seconds, sock_connect=min(request_seconds, CONNECT_SECONDS)),
        read_bufsize=1 << 20,
    ) as session:
        yield Transport(session, endpoint)
    # aiohttp closes TLS connections in the loop's next turn.
    await asyncio.sleep(0)


def _status_kind(status: int) -> str:
    return "http_429" if status == 429 else f"http_{status // 100}xx"
