"""The mode of determinism that a request asks for, in its body or by a header."""

from __future__ import annotations

from pennyweight.server.errors import InvalidRequest
from pennyweight.server.types import Determinism

from .exchange import Call
from .fields import GenerationFields

HEADER = "x-pennyweight-deterministic"
# What JSON says by a boolean, a header says by its name.
_BOOLEANS = {"true": Determinism.BITWISE, "false": Determinism.OFF}


def determinism_of(call: Call, fields: GenerationFields) -> Determinism | None:
    """None where neither says anything. Raises InvalidRequest for a header that is no mode, and where the two contradict each other."""
    body, header = _of_body(fields), _of_header(call)
    if None not in (body, header) and body is not header:
        raise InvalidRequest(
            f"'deterministic' and the header '{HEADER}' contradict each other ({body}, {header}).",
            param="deterministic",
        )
    return header if body is None else body


def _of_body(fields: GenerationFields) -> Determinism | None:
    match fields.deterministic:
        case None:
            return None
        case bool() as is_wanted:
            return Determinism.BITWISE if is_wanted else Determinism.OFF
        case mode:
            return Determinism(mode)


def _of_header(call: Call) -> Determinism | None:
    values = {value.decode("latin-1").strip().lower() for name, value in call.headers if name == HEADER.encode()}
    if not values:
        return None
    found = {_BOOLEANS.get(value) or next((mode for mode in Determinism if mode == value), None) for value in values}
    mode = found.pop()
    if mode is None or found:
        allowed = ", ".join((*_BOOLEANS, *Determinism))
        raise InvalidRequest(f"The header '{HEADER}' must be one of {allowed}.", param=HEADER)
    return mode
