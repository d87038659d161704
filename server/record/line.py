"""What a recording's files are made of: lines of JSON, the first a header, the others manifests and records.

A manifest comes before the first record of its file that names it, so that each file can be read alone.
"""

from __future__ import annotations

import importlib.metadata

import msgspec

from pennyweight.server.engines.manifest import Manifest

from .record import VERSION, Record

FORMAT = "pennyweight-recording"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. ``pennyweight`` is the version of the server that wrote it, ``began`` is in Unix seconds."""

    format: str = FORMAT
    version: int = VERSION
    pennyweight: str
    began: float


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Exactly one of these."""

    header: Header | None = None
    manifest: Manifest | None = None
    record: Record | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


def encode_line(entry: Header | Manifest | Record) -> bytes:
    """A line without its end; JSON has no line feed within."""
    match entry:
        case Record():
            return _encode(Line(record=entry))
        case Manifest():
            return _encode(Line(manifest=entry))
        case Header():
            return _encode(Line(header=entry))


def decode_line(line: bytes) -> Header | Manifest | Record:
    """What a line holds. Raises msgspec.DecodeError."""
    found = _decode(line)
    entry = found.record or found.manifest or found.header
    if entry is None:
        raise msgspec.ValidationError("a line that is no header, manifest or record")
    return entry


def new_header(began: float) -> Header:
    """The header of a file that is begun now by this server."""
    return Header(pennyweight=importlib.metadata.version("pennyweight"), began=began)
