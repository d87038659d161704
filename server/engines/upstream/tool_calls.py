"""The tool calls of one choice as an upstream tells them, in the form that engines give them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from pennyweight.server.types import ToolCallDelta

from .chunks import CallPiece


@dataclass(slots=True)
class _Call:
    """``index`` is ours, None until the name is there; ``held`` are the arguments that came before it."""

    id: str | None = None
    index: int | None = None
    held: list[str] = field(default_factory=list)


class CallReader:
    """Numbers calls from 0 as they begin, and tells of each only when its name is there.

    Servers that don't number calls are understood by their ids: a new id is a new call, none goes on with the last.
    Without ``parallel``, calls but the first are left out, for servers that don't know the parameter.
    """

    def __init__(self, *, parallel: bool) -> None:
        self._parallel = parallel
        self._calls: dict[int, _Call] = {}
        self._num_begun = 0

    def read(self, pieces: Sequence[CallPiece]) -> tuple[ToolCallDelta, ...]:
        """What the pieces add."""
        found = (self._read(piece) for piece in pieces)
        return tuple(one for one in found if one is not None and (self._parallel or one.index == 0))

    def _read(self, piece: CallPiece) -> ToolCallDelta | None:
        call = self._calls.setdefault(self._key(piece), _Call())
        call.id = call.id or piece.id
        arguments = (piece.function.arguments if piece.function else None) or ""
        if call.index is not None:
            return ToolCallDelta(index=call.index, arguments=arguments) if arguments else None
        call.held.append(arguments)
        name = piece.function.name if piece.function else None
        if not name:
            return None
        call.index = self._num_begun
        self._num_begun += 1
        id = call.id or "call_" + secrets.token_hex(12)
        return ToolCallDelta(index=call.index, id=id, name=name, arguments="".join(call.held))

    def _key(self, piece: CallPiece) -> int:
        if piece.index is not None:
            return piece.index
        last = len(self._calls) - 1
        is_new = last < 0 or (piece.id is not None and piece.id != self._calls[last].id)
        return last + is_new
