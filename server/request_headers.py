"""A request's headers, read as they came: a few are looked for in each request."""

from __future__ import annotations

from starlette.types import Scope


def header_of(scope: Scope, name: bytes, default: str = "") -> str:
    """The first header of that (lower-case) name, as Latin-1, which every byte is."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found.decode("latin-1")
    return default


def headers_of(scope: Scope, name: bytes) -> str:
    """All headers of that (lower-case) name, joined by commas as RFC 9110, 5.3 joins the lines of a list; empty where there are none."""
    return ", ".join([value.decode("latin-1") for key, value in scope["headers"] if key == name])
