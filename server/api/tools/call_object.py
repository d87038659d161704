"""Reads a call written as a JSON object: ``{"name": "f", "arguments": {...}}``."""

from __future__ import annotations

from functools import partial

from .answer import Answer, Reading

_ARGUMENTS = frozenset({"arguments", "parameters"})
_PASSED_OVER = frozenset({"id", "type"})


def read_call_object(answer: Answer) -> Reading[bool]:
    """Read a call's object, after any white space; whether it is whole and calls an offered tool.

    The arguments must be an object; a call without them is taken as one with ``{}``, as models write calls of
    functions that have no parameters. Of other members only ``id`` and ``type`` are let by, so that an answer that is
    some other JSON object shows itself early. The arguments come out as they are read once the name is known; where the
    name comes after them, they are held until then.
    """
    if not (yield from answer.read_past_space("{")):
        return False
    call = _Call(answer)
    while True:
        key = yield from answer.read_string()
        if key is None or not (yield from answer.read_past_space(":")):
            return False
        if not (yield from call.read_member(key)):
            return False
        if (yield from answer.peek_past_space()) == "}":
            return (yield from answer.read("}")) and call.end()
        if not (yield from answer.read(",")):
            return False


def read_calls(answer: Answer, separator: str) -> Reading[bool]:
    """Read calls with ``separator`` between them; whether something other than one more call follows the last."""
    while (yield from read_call_object(answer)):
        answer.end_call()
        if (yield from answer.peek_past_space()) != separator:
            return True
        yield from answer.read(separator)
    answer.reject()
    return False


def read_call_array(answer: Answer) -> Reading[None]:
    """Read a JSON array of calls, after any white space, and its closing bracket where that follows a call."""
    if not (yield from answer.read_past_space("[")):
        answer.reject()
    elif (yield from read_calls(answer, ",")) and (yield from answer.read("]")):
        answer.end_call()


class _Call:
    """What is known of a call while its members are read."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._name: str | None = None
        self._index: int | None = None
        self._early: list[str] = []  # the text of arguments that came before the name

    def read_member(self, key: str) -> Reading[bool]:
        """Read the value of a member; whether it fits."""
        if key == "name":
            return (yield from self._read_name())
        if key in _ARGUMENTS:
            return (yield from self._read_arguments())
        if key not in _PASSED_OVER:
            return False
        yield from self._answer.peek_past_space()
        return (yield from self._answer.read_json(lambda _: None))

    def end(self) -> bool:
        """The object has ended; whether it is a call."""
        if self._name is None:
            return False
        if self._index is None:
            self._start(self._name, "{}")
        self._answer.drop()
        return True

    def _read_name(self) -> Reading[bool]:
        if self._name is not None:
            return False
        name = yield from self._answer.read_string()
        if name is None or name not in self._answer.names:
            return False
        self._name = name
        if self._early:
            self._start(name, "".join(self._early))
        return True

    def _read_arguments(self) -> Reading[bool]:
        if self._index is not None or self._early or (yield from self._answer.peek_past_space()) != "{":
            return False
        if self._name is None:
            return (yield from self._answer.read_json(self._early.append))
        self._index = self._answer.start_call(self._name)
        return (yield from self._answer.read_json(partial(self._answer.give_arguments, self._index)))

    def _start(self, name: str, arguments: str) -> None:
        self._index = self._answer.start_call(name)
        self._answer.give_arguments(self._index, arguments)
