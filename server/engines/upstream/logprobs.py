"""An upstream's logprobs, in both of the API's shapes, without the token ids that it keeps to itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pennyweight.server.types import TokenLogprob, TopLogprob

from .chunks import ChatAlternative, Logprobs

# How a token is written whose bytes are no UTF-8 of their own.
_BYTES = re.compile(r"bytes:((?:\\x[0-9a-fA-F]{2})+)")
_NEVER = float("-inf")


def token_logprobs(wire: Logprobs, num_top: int) -> tuple[TokenLogprob, ...]:
    """The tokens of a chunk, each with at most ``num_top`` alternatives."""
    if wire.content is not None:
        return tuple(
            _token(_of_chat(token), [_of_chat(one) for one in token.top_logprobs or ()], num_top)
            for token in wire.content
        )
    tokens, values, tops = wire.tokens or [], wire.token_logprobs or [], wire.top_logprobs or []
    return tuple(
        _token(
            _named(name, values[place] if place < len(values) else None),
            _alternatives((tops[place] if place < len(tops) else None) or {}, name, num_top),
            num_top,
        )
        for place, name in enumerate(tokens)
    )


def _token(chosen: TopLogprob, top: list[TopLogprob], num_top: int) -> TokenLogprob:
    return TokenLogprob(
        token_id=None, token=chosen.token, bytes=chosen.bytes, logprob=chosen.logprob, top=tuple(top[:num_top])
    )


def _of_chat(wire: ChatAlternative) -> TopLogprob:
    if wire.bytes is None or any(not 0 <= byte < 256 for byte in wire.bytes):
        return _named(wire.token, wire.logprob)
    return TopLogprob(token_id=None, token=wire.token, bytes=bytes(wire.bytes), logprob=_value(wire.logprob))


def _alternatives(wire: Mapping[str, float | None], chosen: str, num_top: int) -> list[TopLogprob]:
    """The best first. Plain completions put the chosen token beside them, one too many where it isn't of the best."""
    is_beside = len(wire) > num_top
    found = (_named(name, value) for name, value in wire.items() if not (is_beside and name == chosen))
    return sorted(found, key=lambda one: -one.logprob)


def _named(name: str, logprob: float | None) -> TopLogprob:
    found = _BYTES.fullmatch(name)
    raw = bytes.fromhex(found[1].replace("\\x", "")) if found else name.encode(errors="replace")
    return TopLogprob(token_id=None, token=name, bytes=raw, logprob=_value(logprob))


def _value(logprob: float | None) -> float:
    return _NEVER if logprob is None else logprob
