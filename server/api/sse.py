"""Server-sent events: how an answer goes out piece by piece."""

from __future__ import annotations

import msgspec

from pennyweight.server.errors import PennyweightError

from .exchange import error_object

DONE = b"data: [DONE]\n\n"
HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)

_encode = msgspec.json.Encoder().encode
# How an event of an object ends that has members.
_END = b"}\n\n"


def event(data: object) -> bytes:
    """One event of JSON data."""
    return b"data: " + _encode(data) + b"\n\n"


def with_recorded(event: bytes, is_recorded: bool) -> bytes:
    """The last event of a stream, which also says whether the answer's record has been written."""
    return event[: -len(_END)] + b',"pennyweight":{"recorded":%b}' % (b"true" if is_recorded else b"false") + _END


def error_event(error: PennyweightError) -> bytes:
    """The event that ends a stream which can't go on; no [DONE] comes after it."""
    return event(error_object(error))
