"""An answer's bytes as one client was sent them, to be sent to another with an id and a time of its own."""

from __future__ import annotations

import re

import msgspec

from .exchange import Headers

# How every answer and every chunk of one begins, of chats and completions alike.
_HEAD = rb'"id":"(?P<kind>[a-z]+)-%b","object":"(?P<object>[a-z._]+)","created":\d+'


class Rendering(msgspec.Struct, frozen=True, kw_only=True):
    """``pieces`` are what stands between the places with an id and a time."""

    pieces: tuple[bytes, ...]
    kind: bytes
    object: bytes
    headers: Headers
    is_stream: bool

    @property
    def nbytes(self) -> int:
        return sum(map(len, self.pieces))

    def body(self, request_id: str, created: int) -> bytes:
        """The whole answer to the request of that id, ``created`` in Unix seconds."""
        own = b'"id":"%b-%b","object":"%b","created":%d' % (self.kind, request_id.encode(), self.object, created)
        return own.join(self.pieces)


def rendering_of(body: bytes, request_id: str, headers: Headers, *, is_stream: bool) -> Rendering | None:
    """What was sent in answer to the request of that id, which no text in it can know; None for what is no such answer."""
    head = re.search(_HEAD % request_id.encode(), body)
    if head is None:
        return None
    pieces = tuple(body.split(head[0]))
    if any(request_id.encode() in piece for piece in pieces):
        return None
    return Rendering(pieces=pieces, kind=head["kind"], object=head["object"], headers=headers, is_stream=is_stream)
