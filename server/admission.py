"""What stands between an endpoint and the engines: who may come in, and reading what they send within limits."""

from __future__ import annotations

import asyncio
import functools

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from .config import HttpSettings, LimitSettings
from .connection import BODY_IS_WHOLE
from .errors import BodyTooLarge, Overloaded, RequestTimeout, ShuttingDown, UnsupportedMediaType
from .request_headers import header_of

# After this many seconds a refused request may find a place: about the length of a short answer.
RETRY_SECONDS = 1.0
_CHARSETS = frozenset({"utf-8", "utf8"})


class Ticket:
    """A request's place in the queue, given up when an engine starts on it or when its block ends."""

    __slots__ = ("_admission", "is_waiting")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.is_waiting = True

    def __enter__(self) -> Ticket:
        return self

    def __exit__(self, *_: object) -> None:
        self.started()
        self._admission.left()

    def started(self) -> None:
        """The engine has begun: the request no longer waits. May be called more than once."""
        if self.is_waiting:
            self.is_waiting = False
            self._admission.waiting -= 1


class Admission:
    """The gateway's queue: at most ``max_waiting`` requests wait for an engine to start on them, none while draining.

    All methods belong to the event loop's thread.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._empty = asyncio.Event()
        self._empty.set()
        self.waiting = 0
        self.under_way = 0
        self.is_draining = False

    def admit(self) -> Ticket:
        """A place for one request, as a block that holds it. Raises Overloaded or ShuttingDown."""
        if self.is_draining:
            raise ShuttingDown("The server is shutting down.", retry_after=RETRY_SECONDS)
        if self.waiting >= self._max_waiting:
            raise Overloaded(
                f"{self.waiting} requests are waiting, which is the limit. Try again later.", retry_after=RETRY_SECONDS
            )
        self.waiting += 1
        self.under_way += 1
        self._empty.clear()
        return Ticket(self)

    def left(self) -> None:
        """A request's block has ended."""
        self.under_way -= 1
        if not self.under_way:
            self._empty.set()

    def drain(self) -> None:
        """Take no more requests."""
        self.is_draining = True

    async def until_empty(self) -> None:
        """Wait until no request is under way."""
        await self._empty.wait()


async def read_body(scope: Scope, receive: Receive, http: HttpSettings, limits: LimitSettings) -> bytes:
    """A JSON request's body.

    Raises UnsupportedMediaType for another type, BodyTooLarge as soon as it is known, RequestTimeout when the body has
    not come within ``http.body_timeout`` and ClientDisconnect when it never will.
    """
    check_media_type(scope)
    declared = header_of(scope, b"content-length", "0")
    if not declared.isdecimal() or int(declared) > limits.max_body_bytes:
        raise _too_large(limits)
    is_whole = scope.get("extensions", {}).get(BODY_IS_WHOLE)
    if is_whole is not None and is_whole():
        return await _receive_body(receive, limits)
    try:
        async with asyncio.timeout(http.body_timeout):
            return await _receive_body(receive, limits)
    except TimeoutError:
        raise RequestTimeout(f"The request's body did not come within {http.body_timeout:g} seconds.") from None


async def _receive_body(receive: Receive, limits: LimitSettings) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > limits.max_body_bytes:
            raise _too_large(limits)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(limits: LimitSettings) -> BodyTooLarge:
    return BodyTooLarge(f"The request's body is larger than the maximum of {limits.max_body_bytes} bytes.")


def check_media_type(scope: Scope) -> None:
    """Raises UnsupportedMediaType for a request whose body is not plain JSON, by its headers."""
    # A web page may send any other type (and none) to a server on its reader's machine without asking it first by CORS.
    wrong = _wrong_media_type(header_of(scope, b"content-type"))
    if wrong is not None:
        raise UnsupportedMediaType(wrong)
    if header_of(scope, b"content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("A compressed body is not supported: send it without 'Content-Encoding'.")


@functools.lru_cache(maxsize=16)
def _wrong_media_type(content_type: str) -> str | None:
    """What is wrong with a Content-Type, if anything; clients send few different ones."""
    media_type, _, parameters = content_type.partition(";")
    if media_type.strip().lower() != "application/json":
        return "The body must be JSON, declared by the header 'Content-Type: application/json'."
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in _CHARSETS:
            return "The body must be encoded in UTF-8."
    return None
