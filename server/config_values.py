"""One setting's value: what was written, made into what the setting holds."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterable
from typing import Any

import msgspec

from .errors import ConfigError

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]?)(?P<binary>i?)B?", re.IGNORECASE)
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def converted(struct: type[msgspec.Struct], name: str, value: Any, where: str) -> Any:
    """The value that was given for a struct's field, as the field has it: text is read as a list, a size or a JSON object.

    Raises ConfigError, which begins with ``where``.
    """
    kind = next(field.type for field in msgspec.structs.fields(struct) if field.name == name)
    if kind == tuple[str, ...] and isinstance(value, str):
        value = tuple(part.strip() for part in value.split(",") if part.strip())
    if name.endswith(("_memory", "_bytes", "_budget")) and isinstance(value, str):
        try:
            value = parse_size(value)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
    is_object = typing.get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, msgspec.Struct))
    if is_object and isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{where} is no JSON object: {error}") from error
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        reason = str(error).partition(" - at")[0].replace("`", "")
        raise ConfigError(f"{where} can't be used: {reason[0].lower()}{reason[1:]}") from error


def parse_size(text: str) -> int:
    """Bytes of a size such as ``2GiB``, ``512MB``, ``4G`` or ``1048576``; K, M, G and T alone are powers of 1024.

    Raises ValueError for what is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size: give bytes, or a number with KiB, MiB, GiB, MB, GB, ...")
    is_decimal = text.strip().lower().endswith("b") and not found["binary"] and found["unit"]
    return int(float(found["number"]) * (1000 if is_decimal else 1024) ** _UNITS[found["unit"].lower()])


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The end of an error: the known name that is nearest, or all of them."""
    choices = tuple(known)
    close = difflib.get_close_matches(str(name), choices, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(choices)}"
