"""From a call's bytes to a typed request, and the warnings that its answer carries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

import msgspec

from .exchange import WARNING_HEADER, Call, Headers
from .json_body import parse_object
from .parameters import Refusal, unread_names, warning_of
from .wire import convert

_T = TypeVar("_T", bound=msgspec.Struct)


def read(
    call: Call, wire_type: type[_T], *, refused: Mapping[str, Refusal] | None = None, silent: Collection[str] = ()
) -> tuple[_T, Headers]:
    """The request in a call's body, and the answer's headers that warn of what in it was ignored.

    Raises InvalidRequest, and UnsupportedParameter for what ``refused`` names (see ``unread_names``).
    """
    limits = call.settings.limits
    body = parse_object(call.body, max_depth=limits.max_json_depth, max_values=limits.max_json_values)
    wire = convert(body, wire_type)
    warnings = [warning_of(unread_names(body, wire, refused or {}, silent))]
    if getattr(wire, "store", None):
        warnings.append("store: true was ignored, for nothing is stored here")
    told = "; ".join(warning for warning in warnings if warning)
    return wire, ((WARNING_HEADER, told.encode("ascii")),) if told else ()
