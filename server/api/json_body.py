"""Strict JSON at the edge: what a lenient parser would guess at, drop or crash on is refused, with its path.

RFC 8259 leaves duplicate names, numbers out of range, unpaired surrogates and depth to the parser. Here each is an
InvalidRequest: invalid UTF-8, NaN and Infinity, numbers that overflow a double, duplicate names, unpaired surrogates,
and nesting or a number of values beyond a limit (8 MiB of empty arrays would hold up every other request for half a second).
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from pennyweight.server.errors import InvalidRequest

# Possessive, and with the closing quote optional, so that every character is looked at once whatever the input.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_PATH = 200


class _DuplicateName(Exception):
    """An object has a name twice."""


class _MarkedObject(dict[str, Any]):
    """An object that remembers which of its names came twice, to find the place of an error."""

    duplicate: str | None = None

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                self.duplicate = name
                break
            seen.add(name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DuplicateName
    return found


def _finite(literal: str) -> float:
    number = float(literal)
    if number in (float("inf"), float("-inf")):
        raise InvalidRequest("The request's JSON has a number that is too large for a double.")
    return number


def _refuse_constant(literal: str) -> NoReturn:
    raise InvalidRequest(f"The request's JSON has {literal}, which is not a JSON number.")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant)
_MARKING_DECODER = json.JSONDecoder(object_pairs_hook=_MarkedObject)


def parse_object(body: bytes, *, max_depth: int, max_values: int) -> dict[str, Any]:
    """The JSON object that ``body`` is. Raises InvalidRequest, with the path of what is wrong where there is one."""
    _check_count(body, max_values)
    if body.startswith(codecs.BOM_UTF8):
        raise InvalidRequest("The request's body begins with a byte order mark, which JSON does not allow.")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The request's body is not valid UTF-8 (byte {error.start}).") from None
    try:
        parsed = _decode(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"The request's body is not valid JSON: {error.msg} (character {error.pos}).") from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    except ValueError:  # an integer of more digits than Python converts
        raise InvalidRequest("The request's JSON has an integer that is too large.") from None
    if not isinstance(parsed, dict):
        raise InvalidRequest("The request's body must be a JSON object.")
    # As many brackets as that there are in nearly every body, be it in strings.
    if body.count(b"[") + body.count(b"{") > max_depth and _is_deeper(parsed, max_depth):
        raise _too_deep(max_depth)
    if _SURROGATE_ESCAPE.search(text):
        _check_surrogates(parsed)
    return parsed


def _decode(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except _DuplicateName:
        path = _shown(_find_duplicate(_MARKING_DECODER.decode(text)) or "")
        raise InvalidRequest(f"The request's JSON has '{path}' more than once.", param=path) from None


def _check_count(body: bytes, max_values: int) -> None:
    if body.count(b",") < max_values:
        return  # also when every one of them were outside of strings
    # Strings are taken out one by one: too many are refused before. A value has two of them at most, with its name.
    if body.count(b'"') > 4 * max_values and _count_quotes(body) > 4 * max_values:
        raise _too_many(max_values)
    if _STRING.sub(b"", body).count(b",") >= max_values:
        raise _too_many(max_values)


def _is_deeper(parsed: dict[str, Any], max_depth: int) -> bool:
    """Whether arrays and objects are nested to more than so many levels, the outermost counted."""
    level: list[dict[str, Any] | list[Any]] = [parsed]
    for _ in range(max_depth):
        inner = (item for outer in level for item in (outer.values() if isinstance(outer, dict) else outer))
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _count_quotes(body: bytes) -> int:
    """The quotes that begin or end a string."""
    return body.count(b'"') - body.replace(b"\\\\", b"").count(b'\\"')


def _too_many(max_values: int) -> InvalidRequest:
    return InvalidRequest(f"The request's JSON has more than {max_values} values.")


def _too_deep(max_depth: int) -> InvalidRequest:
    return InvalidRequest(f"The request's JSON is nested deeper than {max_depth} levels.")


def _check_surrogates(parsed: dict[str, Any]) -> None:
    for path, text in _walk(parsed):
        if _SURROGATE.search(text):
            path = _SURROGATE.sub("\ufffd", _shown(path))
            raise InvalidRequest(f"'{path}' has an unpaired UTF-16 surrogate, which is no character.", param=path)


def _find_duplicate(value: Any, path: str = "") -> str | None:
    """The path of the first name that its object has twice."""
    if isinstance(value, _MarkedObject):
        if value.duplicate is not None:
            return _join(path, value.duplicate)
        below = ((_join(path, name), item) for name, item in value.items())
    elif isinstance(value, list):
        below = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    else:
        return None
    return next((found for place, item in below if (found := _find_duplicate(item, place)) is not None), None)


def _walk(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string with its path, names as well as values."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            below = _join(path, name)
            yield below, name
            yield from _walk(item, below)


def _shown(path: str) -> str:
    """A path of the client's own names, short enough to be sent back."""
    return path if len(path) <= _MAX_PATH else path[:_MAX_PATH] + "..."


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
