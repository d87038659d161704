"""A bound on how long a number in JSON may grow, for grammars that set none."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# 64-bit integers and the shortest form of any double fit.
MAX_DIGITS = 20
# Two digits of an exponent keep every number inside a double's range, and so out of infinity when it is parsed.
MAX_EXPONENT_DIGITS = 2

_DIGITS = frozenset(b"0123456789")
_QUOTE, _BACKSLASH = b'"\\'
_LEADING_DIGITS = re.compile(rb"[0-9]*")


class DigitTokens:
    """Which tokens bring how many digits. Built once for a vocabulary.

    ``texts`` are the tokens' bytes by id; ``num_words`` the int32 words of a bitmask row.
    """

    def __init__(self, texts: Sequence[bytes], num_words: int) -> None:
        self.texts = texts
        lengths = np.zeros(num_words * 32, dtype=np.uint8)
        for token_id, text in enumerate(texts):
            if text[:1].isdigit():
                digits = _LEADING_DIGITS.match(text)
                lengths[token_id] = min(digits.end() if digits else 0, 255)
        # allowed[n] has the bits of the tokens that begin with at most n digits.
        self._allowed = [np.packbits(lengths <= most, bitorder="little").view("<i4") for most in range(MAX_DIGITS + 1)]

    def allowed(self, most: int) -> NDArray[np.int32]:
        """The bitmask row [num_words] of tokens that begin with at most ``most`` digits."""
        return self._allowed[most]


class NumberBound:
    """Follows the bytes of compact JSON and ends numbers that grow beyond the bounds.

    Only narrows: where the grammar allows nothing but another digit, it is left alone. A token that starts a number may
    pass a bound by as many digits as it holds.
    """

    def __init__(self, tokens: DigitTokens) -> None:
        self._tokens = tokens
        self._in_string = False
        self._escaped = False
        self._digits = 0
        self._exponent_digits: int | None = None

    def accept(self, token_id: int) -> None:
        """Go on over a token's bytes."""
        for byte in self._tokens.texts[token_id]:
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif byte == _BACKSLASH:
                    self._escaped = True
                elif byte == _QUOTE:
                    self._in_string = False
            elif byte in _DIGITS:
                if self._exponent_digits is None:
                    self._digits += 1
                else:
                    self._exponent_digits += 1
            elif self._digits and byte in b"eE":
                self._exponent_digits = 0
            elif self._digits and byte in b".+-":
                pass  # still inside the number
            else:
                self._in_string = byte == _QUOTE
                self._digits = 0
                self._exponent_digits = None

    def narrow(self, row: NDArray[np.int32]) -> None:
        """Forbid in a bitmask row [words] the tokens that would make the number too long, unless no other is allowed."""
        if not self._digits:
            return
        if self._exponent_digits is None:
            left = MAX_DIGITS - self._digits
        else:
            left = MAX_EXPONENT_DIGITS - self._exponent_digits
        narrowed = row & self._tokens.allowed(max(left, 0))
        if narrowed.any():
            row[:] = narrowed
