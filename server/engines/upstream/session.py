"""HTTP to one upstream; aiohttp's errors become failures here, and nothing else of the engine knows of aiohttp."""

from __future__ import annotations

import asyncio
import importlib.metadata
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from pennyweight.server.config import UpstreamSettings
from pennyweight.server.engines.base import TIMEOUT_HEADER
from pennyweight.server.errors import UpstreamFailed, UpstreamTimeout

from .api_key import ApiKey
from .failure import Failure, broken

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
# What the end of a stream may take to come after its last event, so that the connection can be used again.
END_SECONDS = 0.25


class Reply:
    """An answer whose head is there, to be closed. Before its end that ends the connection, and the upstream's work."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    @property
    def is_stream(self) -> bool:
        """Whether it is one of events."""
        return self.status == 200 and self._response.content_type == EVENT_STREAM

    async def piece(self) -> bytes:
        """More of the body; empty at its end. Raises Failure."""
        with translated():
            return await self._response.content.readany()

    async def body(self, max_bytes: int) -> bytes:
        """The rest of the body. Raises Failure, also when it is larger."""
        found = bytearray()
        while piece := await self.piece():
            found += piece
            if len(found) > max_bytes:
                raise broken(f"The upstream's answer is over {max_bytes} bytes.")
        return bytes(found)

    async def end(self) -> None:
        """Wait a moment for the end of the body, and then close it."""
        try:
            async with asyncio.timeout(END_SECONDS):
                while await self._response.content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, HttpProcessingError):
            pass  # the answer was whole; only the connection is lost
        self.close()

    def close(self) -> None:
        """Let go of the connection: to be used again if the body has ended, else closed."""
        self._response.close()


class Session:
    """Connections to an upstream, kept open between requests. Made on the running loop.

    The number of connections is not bounded here. Certificates are verified; no redirect is followed, no proxy taken
    from the environment and no cookie kept.
    """

    def __init__(self, upstream: UpstreamSettings, api_key: ApiKey) -> None:
        headers = {
            "User-Agent": f"pennyweight/{importlib.metadata.version('pennyweight')}",
            # What is compressed could be any size, and would come in lumps.
            "Accept-Encoding": "identity",
            **api_key.headers(),
        }
        own = {name.lower() for name in upstream.headers}
        self._client = aiohttp.ClientSession(
            headers={name: value for name, value in headers.items() if name.lower() not in own} | upstream.headers,
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=upstream.connect_timeout),
            auto_decompress=False,
            trust_env=False,
        )

    async def ask(
        self, method: str, url: str, body: bytes | None = None, *, accept: str = JSON, seconds: float | None = None
    ) -> Reply:
        """The answer's head. ``seconds`` are what the whole answer may take, which an upstream of our kind keeps to. Raises Failure."""
        headers = {"Accept": accept} | ({} if body is None else {"Content-Type": JSON})
        if seconds is not None:
            headers[TIMEOUT_HEADER] = f"{seconds:.3f}"
        # Read in parts: a large one would hold up the loop.
        data = None if body is None else io.BytesIO(body)
        with translated():
            return Reply(await self._client.request(method, url, data=data, headers=headers, allow_redirects=False))

    async def aclose(self) -> None:
        """Close all connections, those in use too."""
        await self._client.close()


@contextmanager
def translated() -> Iterator[None]:
    """Turn aiohttp's errors into failures. Their own words, which may tell addresses, are left out."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError:
        error = UpstreamTimeout("The upstream could not be connected to in time.")
        raise Failure(error, is_retryable=True, is_fault=True) from None
    except aiohttp.ClientSSLError:
        # Another try would find the same certificate.
        raise Failure(UpstreamFailed("The upstream's TLS certificate can't be verified."), is_fault=True) from None
    except aiohttp.ClientConnectorError:
        raise broken("The upstream can't be reached.") from None
    except (aiohttp.ClientError, HttpProcessingError, OSError):
        raise broken("The upstream broke off the connection, or what it sent is no HTTP.") from None
