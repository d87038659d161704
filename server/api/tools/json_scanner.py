"""Finds where one JSON value (RFC 8259) ends in text that comes in pieces."""

from __future__ import annotations

import enum
import re

_SPACE = " \t\n\r"
_HEX = frozenset("0123456789abcdefABCDEF")
_DIGITS = "0123456789"
_STRING_BREAK = re.compile(r'["\\\x00-\x1f]')


class ScanState(enum.Enum):
    """Where a scan is. A number's end shows only in what follows it: a bare one is DONE at the next character."""

    OPEN = enum.auto()
    DONE = enum.auto()
    BROKEN = enum.auto()


class _Mode(enum.Enum):
    """What comes next."""

    VALUE = enum.auto()
    FIRST_ITEM = enum.auto()
    FIRST_KEY = enum.auto()
    KEY = enum.auto()
    COLON = enum.auto()
    AFTER_VALUE = enum.auto()
    STRING = enum.auto()
    ESCAPE = enum.auto()
    HEX = enum.auto()
    LITERAL = enum.auto()
    NUMBER = enum.auto()


# A number's grammar as states: what has been read, and where each next character leads.
_NUMBER: dict[str, dict[str, str]] = {
    "minus": {"0": "zero", **dict.fromkeys(_DIGITS[1:], "integer")},
    "zero": {".": "point", "e": "e", "E": "e"},
    "integer": {**dict.fromkeys(_DIGITS, "integer"), ".": "point", "e": "e", "E": "e"},
    "point": dict.fromkeys(_DIGITS, "fraction"),
    "fraction": {**dict.fromkeys(_DIGITS, "fraction"), "e": "e", "E": "e"},
    "e": {**dict.fromkeys("+-", "sign"), **dict.fromkeys(_DIGITS, "exponent")},
    "sign": dict.fromkeys(_DIGITS, "exponent"),
    "exponent": dict.fromkeys(_DIGITS, "exponent"),
}
_WHOLE_NUMBER = frozenset({"zero", "integer", "fraction", "exponent"})
_NUMBER_START = {"-": "minus", "0": "zero", **dict.fromkeys(_DIGITS[1:], "integer")}
_LITERALS = {"t": "rue", "f": "alse", "n": "ull"}


class JsonScanner:
    """Scans one value. Time is linear in the text, however it is cut; memory grows with the nesting only."""

    def __init__(self) -> None:
        self.state = ScanState.OPEN
        self._mode = _Mode.VALUE
        self._open: list[str] = []  # the closing brackets still to come, outermost first
        self._is_key = False
        self._rest = ""  # of a literal
        self._number = ""
        self._hex_left = 0

    def scan(self, text: str, start: int) -> int:
        """Read ``text`` from ``start``; where reading stopped.

        That is the end of the text while the value is OPEN, just after the value when it is DONE, and at the first
        character that no JSON value can go on with when it is BROKEN.
        """
        at = start
        while at < len(text) and self.state is ScanState.OPEN:
            if self._mode is _Mode.STRING:
                at = self._string(text, at)
            elif self._step(text[at]):
                at += 1
        return at

    def _string(self, text: str, at: int) -> int:
        found = _STRING_BREAK.search(text, at)
        if found is None:
            return len(text)
        if found[0] == '"':
            if self._is_key:
                self._mode = _Mode.COLON
            else:
                self._end_value()
        elif found[0] == "\\":
            self._mode = _Mode.ESCAPE
        else:
            self.state = ScanState.BROKEN
            return found.start()
        return found.end()

    def _step(self, char: str) -> bool:
        """Take one character outside a string's plain text; whether it was used up."""
        match self._mode:
            case _Mode.NUMBER:
                return self._number_step(char)
            case _Mode.LITERAL:
                return self._literal_step(char)
            case _Mode.ESCAPE | _Mode.HEX:
                return self._escape_step(char)
        if char in _SPACE:
            return True
        match self._mode:
            case _Mode.COLON if char == ":":
                self._mode = _Mode.VALUE
            case _Mode.AFTER_VALUE if char == ",":
                self._mode = _Mode.KEY if self._open[-1] == "}" else _Mode.VALUE
            case _Mode.AFTER_VALUE | _Mode.FIRST_ITEM | _Mode.FIRST_KEY if char == self._open[-1]:
                self._open.pop()
                self._end_value()
            case _Mode.FIRST_KEY | _Mode.KEY if char == '"':
                self._mode, self._is_key = _Mode.STRING, True
            case _Mode.VALUE | _Mode.FIRST_ITEM:
                return self._begin_value(char)
            case _:
                return self._break()
        return True

    def _begin_value(self, char: str) -> bool:
        if char == '"':
            self._mode, self._is_key = _Mode.STRING, False
        elif char == "{":
            self._open.append("}")
            self._mode = _Mode.FIRST_KEY
        elif char == "[":
            self._open.append("]")
            self._mode = _Mode.FIRST_ITEM
        elif char in _LITERALS:
            self._mode, self._rest = _Mode.LITERAL, _LITERALS[char]
        elif char in _NUMBER_START:
            self._mode, self._number = _Mode.NUMBER, _NUMBER_START[char]
        else:
            return self._break()
        return True

    def _number_step(self, char: str) -> bool:
        following = _NUMBER[self._number].get(char)
        if following is not None:
            self._number = following
            return True
        if self._number in _WHOLE_NUMBER:
            self._end_value()
            return False
        return self._break()

    def _literal_step(self, char: str) -> bool:
        if char != self._rest[0]:
            return self._break()
        self._rest = self._rest[1:]
        if not self._rest:
            self._end_value()
        return True

    def _escape_step(self, char: str) -> bool:
        if self._mode is _Mode.HEX:
            if char not in _HEX:
                return self._break()
            self._hex_left -= 1
            self._mode = _Mode.HEX if self._hex_left else _Mode.STRING
        elif char == "u":
            self._mode, self._hex_left = _Mode.HEX, 4
        elif char in '"\\/bfnrt':
            self._mode = _Mode.STRING
        else:
            return self._break()
        return True

    def _end_value(self) -> None:
        if self._open:
            self._mode = _Mode.AFTER_VALUE
        else:
            self.state = ScanState.DONE

    def _break(self) -> bool:
        self.state = ScanState.BROKEN
        return False
