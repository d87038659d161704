"""From a parsed JSON object to a typed request: types checked, unknown names found, errors named as OpenAI names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from pennyweight.server.errors import InvalidRequest, InvalidType, MissingParameter

_T = TypeVar("_T")

_PLACE = re.compile(r" - at `(?:key` in `)?\$\.?(?P<path>.*)`$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_MISTYPED = re.compile(r"Expected `[^`]*`, got `[^`]*`")
_MAX_MESSAGE = 300


def convert(body: Mapping[str, Any], wire_type: type[_T]) -> _T:
    """``body`` as ``wire_type``. Raises MissingParameter, InvalidType or InvalidRequest, each with its parameter."""
    try:
        return msgspec.convert(body, wire_type)
    except msgspec.ValidationError as error:
        raise _translate(str(error)) from None


def _translate(text: str) -> InvalidRequest:
    place = _PLACE.search(text)
    # msgspec writes [...] for a name that only the client knows.
    path = place["path"].partition("[...]")[0] if place else ""
    reason = text[: place.start()] if place else text
    if missing := _MISSING.match(reason):
        path = f"{path}.{missing['name']}" if path else missing["name"]
        return MissingParameter(f"Missing required parameter: '{path}'.", param=path)
    reason = reason if len(reason) <= _MAX_MESSAGE else reason[:_MAX_MESSAGE] + "..."
    param = path or None
    if _MISTYPED.match(reason):
        return InvalidType(f"Invalid type for '{path}': {reason[0].lower()}{reason[1:]}.", param=param)
    return InvalidRequest(f"Invalid value for '{path}': {reason[0].lower()}{reason[1:]}.", param=param)
