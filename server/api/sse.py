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


def event(data: object) -> bytes:
    """One event of JSON data."""
    return b"data: " + _encode(data) + b"\n\n"


def error_event(error: PennyweightError) -> bytes:
    """The event that ends a stream which can't go on; no [DONE] comes after it."""
    return event(error_object(error))
